"""What this release knows but does not execute yet: one table. A release that executes a feature deletes its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from app.core.pointers import Problems, pointer
from app.core.spec import Workflow
from app.errors import NotSupported


class Row(NamedTuple):
    """A use of `field` (a path with dots) in one place of documents: `where` is workflow, node or trigger."""

    where: str
    field: str
    what: str
    used: Callable[[Any], bool] = lambda value: value is not None


NOT_YET = (
    Row("node", "workflow", "child workflows"),
    Row("node", "approval", "approvals"),
    Row("node", "cache", "the cache of nodes"),
    Row("trigger", "run", "run triggers"),
)


def refuse_unsupported(workflow: Workflow) -> None:
    """Raises NotSupported with the place of each use of a row of NOT_YET."""
    problems = Problems()
    for row, parts, thing in _uses(workflow):
        path = row.field.split(".")
        value = thing
        for name in path:
            value = getattr(value, name, None)
        if row.used(value):
            problems.add(pointer(*parts, *path), f"this release does not execute {row.what} yet")
        if problems.full:
            break
    problems.raise_if_any("this release does not execute all that the workflow uses", NotSupported)


def _uses(workflow: Workflow) -> Iterator[tuple[Row, tuple[str | int, ...], Any]]:
    """Each row with each thing of a document it could apply to; only things that set the row's field."""
    yield from ((row, (), workflow) for row in NOT_YET if row.where == "workflow")
    rows = {row.field.split(".")[0]: row for row in NOT_YET if row.where == "node"}
    names = frozenset(rows)
    for name, node in workflow.nodes.items():
        for field in names & node.model_fields_set:
            yield rows[field], ("nodes", name), node
    for index, trigger in enumerate(workflow.triggers or ()):
        yield from ((row, ("triggers", index), trigger) for row in NOT_YET if row.where == "trigger")
