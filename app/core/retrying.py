"""Retry and fork: what a new run keeps of an ended one, and what runs again.

A node run is kept when it ended well and everything that it needs is kept; all others run again. So what is kept is
closed upwards: nothing that runs again is before anything that is kept. Of a map that failed, the items that succeeded
are kept and only the others run again, unless the map itself was asked for. A node run that succeeded but for some records of
its stream runs again for those, where it is asked for what failed.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from app.core.expressions import Expression, find_expressions
from app.core.graph import Graph, NodeDef
from app.core.states import NodeStatus
from app.errors import InvalidInput, NotFound, Place

FAILED, ALL = "failed", "all"
"""Where a retry begins, when it is not at a node."""


class Again(StrEnum):
    """Why a node runs again."""

    ASKED = "asked"
    """It is where the new run was asked to begin."""
    STATUS = "status"
    """It did not end well."""
    CHANGED = "changed"
    """The new version has it otherwise."""
    RECORDS = "records"
    """It succeeded, but for some records of its stream."""
    UPSTREAM = "upstream"
    """Something that it needs runs again, or was given other metadata."""


@dataclass(slots=True, frozen=True)
class Ask:
    """What was asked for."""

    of: str
    """The ended run."""
    by: str
    """retry or fork"""
    at: str
    """A node, or of a retry FAILED or ALL."""
    config: Mapping[str, Any] | None = None
    """The edited config of the node `at`."""
    metadata: bytes | None = None
    """The metadata (JSON) that the node `at` is given; it does not run then."""

    def encode(self) -> dict[str, Any]:
        """As a trigger and a run keep it: members of `up` (see app/core/view.py)."""
        more = {} if self.config is None else {"config": self.config}
        given = {} if self.metadata is None else {"given": self.metadata.decode()}
        return {"of": self.of, "by": self.by, "at": self.at, **more, **given}

    @classmethod
    def decode(cls, up: Mapping[str, Any]) -> Self:
        given = up.get("given")
        return cls(up["of"], up["by"], up["at"], up.get("config"), None if given is None else given.encode())


@dataclass(slots=True, frozen=True)
class Verdict:
    """What becomes of one node."""

    again: Again | None = None
    """None: it is kept."""
    because: str = ""
    """UPSTREAM: the first such node."""


_KEPT = Verdict()


@dataclass(slots=True, frozen=True)
class Plan:
    """One verdict for each node of the graph, in its order."""

    verdicts: Sequence[Verdict]
    items: Mapping[str, int] = field(default_factory=dict[str, int])
    """Maps that run again with items that are kept -> below which number those are."""
    records: Mapping[str, int] = field(default_factory=dict[str, int])
    """Nodes, or maps, that run again for failed records only (a map: in its items that succeeded) -> how many those are."""

    @property
    def kept(self) -> int:
        return sum(verdict.again is None for verdict in self.verdicts)


@dataclass(slots=True, frozen=True)
class Was:
    """How a node run of the ended run ended."""

    status: NodeStatus = NodeStatus.CANCELLED
    begun: int = 0
    """Of a map: items that had begun, ..."""
    count: int = 0
    """... all that it has, ..."""
    ok: int = 0
    """... and those that succeeded."""
    records: int = 0
    """Failed records in its ledger; of a map: in those of its items that succeeded, ..."""
    partly: int = 0
    """... and how many such items have any."""


def ended_well(node: NodeDef, status: NodeStatus) -> bool:
    """Whether a node run is worth keeping."""
    allowed = status is NodeStatus.FAILED and node.allow_failure
    return allowed or status in (NodeStatus.SUCCEEDED, NodeStatus.SKIPPED)


def plan(graph: Graph, was: Mapping[str, Was], ask: Ask, changed: Container[str] = ()) -> Plan:
    """What is kept of a run that ended as `was` says, by node; `changed` are nodes that its version had otherwise.

    Raises NotFound where there is no node `ask.at`, InvalidInput where a node cannot be given metadata.
    """
    at = None if ask.by == "retry" and ask.at in (FAILED, ALL) else _node(graph, ask.at)
    everything = at is None and ask.at == ALL
    found: list[Verdict] = [
        Verdict(Again.ASKED)
        if everything or node is at
        else _own(node, was.get(node.name, Was()), changed, redoes(ask))
        for node in graph.nodes
    ]
    work = [index for index, verdict in enumerate(found) if verdict.again is not None]
    if at is not None and ask.metadata is not None:
        found[at.index] = _KEPT
        work = [index for index in work if index != at.index]
        work += _below(graph, at, found)
    while work:
        work += _below(graph, graph.nodes[work.pop()], found)
    if at is not None and ask.metadata is not None and found[at.index].again is not None:
        detail = (
            f"'{found[at.index].because}', which it needs, runs again; give that one its metadata instead"
        )
        raise InvalidInput(places=[Place("/metadata", detail)])
    items = {node.name: was[node.name].begun for node in graph.nodes if _keeps_items(node, found, was)}
    records = {
        node.name: was[node.name].records
        for node in graph.nodes
        if redoes(ask) and _redoes_records(node, found, was) and (node.map is None or node.name in items)
    }
    return Plan(found, items, records)


def redoes(ask: Ask) -> bool:
    """Whether failed records are asked for."""
    return ask.by == "retry" and ask.at == FAILED


def _node(graph: Graph, name: str) -> NodeDef:
    if name not in graph.index:
        raise NotFound(f"Version {graph.version} of the workflow {graph.workflow} has no node '{name}'.")
    return graph.node(name)


def _own(node: NodeDef, was: Was, changed: Container[str], redo: bool) -> Verdict:
    """By itself, whatever is before it."""
    if node.name in changed:
        return Verdict(Again.CHANGED)
    if not ended_well(node, was.status):
        return Verdict(Again.STATUS)
    return Verdict(Again.RECORDS) if redo and was.records and was.status is NodeStatus.SUCCEEDED else _KEPT


def _redoes_records(node: NodeDef, found: Sequence[Verdict], was: Mapping[str, Was]) -> bool:
    """Its stream is the same one only where its config and all that it needs are the same."""
    if found[node.index].again not in (Again.RECORDS, Again.STATUS) or not was.get(node.name, Was()).records:
        return False
    if node.map is None and found[node.index].again is Again.STATUS:
        return False  # it did not come to the end of its stream
    return _same_needs(node, found) and all(
        isinstance(each, Expression) and "run" not in each.roots
        for _, each in find_expressions(node.config.value)
    )


def _same_needs(node: NodeDef, found: Sequence[Verdict]) -> bool:
    return all(found[edge.node].again is None for edge in node.needs)


def _below(graph: Graph, node: NodeDef, found: list[Verdict]) -> list[int]:
    """The children that now run again, and did not before."""
    fresh = [edge.node for edge in node.children if found[edge.node].again is None]
    for index in fresh:
        found[index] = Verdict(Again.UPSTREAM, node.name)
    return fresh


def _keeps_items(node: NodeDef, found: Sequence[Verdict], was: Mapping[str, Was]) -> bool:
    """The items are the same ones only where all that gives them is the same."""
    if node.map is None or found[node.index].again not in (Again.STATUS, Again.RECORDS):
        return False
    if not _same_needs(node, found) or not was.get(node.name, Was()).begun:
        return False
    over = node.map.over
    used = [over] if isinstance(over, Expression) else [each for _, each in find_expressions(over.value)]
    return all(isinstance(each, Expression) and "run" not in each.roots for each in used)


def changed_nodes(before: Mapping[str, Any], after: Mapping[str, Any]) -> frozenset[str]:
    """Nodes of the document `after` that `before` does not have, or has otherwise."""
    old: Mapping[str, Any] = before["nodes"]
    return frozenset(name for name, node in after["nodes"].items() if old.get(name) != node)
