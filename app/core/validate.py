"""What must hold in a workflow as a whole before it is published: edges, expressions, node types, configurations.

`check` reports everything that is invalid first; only a valid document is told what this release does not execute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jsonschema_rs

from app.core.expressions import Expression, expression, find_expressions
from app.core.nodetypes import NodeType, parse_ref
from app.core.pointers import Problems, escape, pointer, suggest
from app.core.schedules import timetable
from app.core.schemas import check_config, check_defaults, check_schema, validator
from app.core.services import BODILESS
from app.core.spec import Node, Workflow
from app.core.spec_nodes import ChildWorkflow, Need
from app.core.spec_triggers import Schedule
from app.core.validate_graph import Read, Shape, check_cycles, check_reads
from app.core.validate_pools import check_pools
from app.errors import ExpressionError, InvalidInput

NODE_ROOTS = frozenset({"params", "nodes", "run", "event"})
ITEM_ROOTS = NODE_ROOTS | {"item"}
EVENT_ROOTS = frozenset({"event"})


def check(workflow: Workflow, node_types: Mapping[str, NodeType]) -> Workflow:
    """Check a parsed workflow against the catalog; the result has its node types pinned (`name@version`).

    `node_types` holds every version known; its keys do not matter. Raises InvalidInput with up to 50 places.
    """
    problems = Problems()
    if workflow.params is not None:
        problems.extend(check_schema(workflow.params, "/params"))
        if not problems:
            problems.extend(check_defaults(workflow.params, "/params"))
    shape = Shape(workflow.nodes, problems)
    levels = None if problems.full else check_cycles(shape, problems)
    reads = _Expressions(problems).check(workflow)
    if levels is not None:
        check_reads(shape, levels, reads, problems)
    check_pools(workflow.nodes, problems)
    pins = _Types(node_types, problems).check(workflow.nodes)
    _check_services(workflow, problems)
    _check_kinds(workflow.nodes, problems)
    _check_triggers(workflow, problems)
    problems.raise_if_any("the workflow is not valid")
    return _pinned(workflow, pins)


def _pinned(workflow: Workflow, pins: Mapping[str, str]) -> Workflow:
    nodes = {
        name: node
        if node.type is None or node.type == pins[node.type]
        else node.model_copy(update={"type": pins[node.type]})
        for name, node in workflow.nodes.items()
    }
    return workflow.model_copy(update={"nodes": nodes})


def _check_services(workflow: Workflow, problems: Problems) -> None:
    for name, node in workflow.nodes.items():
        if node.service is not None and node.config and node.service.method in BODILESS:
            detail = (
                f"a {node.service.method} request has no body to carry it; put it into the URL, or use POST"
            )
            problems.add(pointer("nodes", name, "config"), detail)


def _check_triggers(workflow: Workflow, problems: Problems) -> None:
    seen: set[str] = set()
    for index, trigger in enumerate(workflow.triggers or ()):
        if trigger.name in seen:
            at = pointer("triggers", index, trigger.kind, "name")
            problems.add(at, f"another trigger is called '{trigger.name}' already")
        seen.add(trigger.name)
        if trigger.schedule is not None:
            _check_schedule(trigger.schedule, pointer("triggers", index, "schedule"), problems)
        if trigger.event is not None and "*" in trigger.event.type[:-1]:
            at = pointer("triggers", index, "event", "type")
            problems.add(at, "a * stands at the end only, for any rest")
        if trigger.run is not None and trigger.run.workflow == workflow.name:
            at = pointer("triggers", index, "run", "workflow")
            problems.add(at, "a workflow cannot be fired by the end of its own runs: that would be a loop")


def _check_schedule(schedule: Schedule, at: str, problems: Problems) -> None:
    """Its cron expression and its time zone, each judged by itself."""
    try:
        ever = timetable(schedule.cron).after(0)
    except ValueError as error:
        problems.add(f"{at}/cron", str(error))
    else:
        if ever is None:
            problems.add(f"{at}/cron", "there is no such day, so this would never start a run")
    if schedule.time_zone is not None:
        try:
            timetable("0 0 1 1 *", schedule.time_zone)
        except ValueError as error:
            problems.add(f"{at}/time_zone", str(error))


def _check_kinds(nodes: Mapping[str, Node], problems: Problems) -> None:
    """Fields that do not go with the kind of their node."""
    for name, node in nodes.items():
        person = node.approval is not None
        if person or node.wait is not None:
            kind = "an approval" if person else "a wait"
            if node.cache is not None:
                problems.add(
                    pointer("nodes", name, "cache"), f"{kind} leaves nothing that could be used again"
                )
            if node.config:
                problems.add(pointer("nodes", name, "config"), f"{kind} has no configuration")
        if isinstance(node.workflow, ChildWorkflow) and node.workflow.params is not None and node.config:
            detail = "the params of the child run stand in 'workflow.params' already; leave one of both out"
            problems.add(pointer("nodes", name, "config"), detail)
        if problems.full:
            return


class _Expressions:
    """Every expression of a document: it must be CEL, may read only what its place offers, and its reads are kept."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.reads: list[Read] = []
        self.compiled: set[str] = set()

    def check(self, workflow: Workflow) -> list[Read]:
        """Check all of them; the reads of nodes that remain to be proven upstream."""
        for name, node in workflow.nodes.items():
            self._node(name, node)
            if self.problems.full:
                return []
        for at, found in find_expressions(workflow.output, "/output"):
            self._judge(at, found, NODE_ROOTS, workflow.nodes)
        if workflow.concurrency is not None:
            self._template(workflow.concurrency.key, "/concurrency/key", frozenset({"params", "event"}))
        for index, trigger in enumerate(workflow.triggers or ()):
            at = pointer("triggers", index, trigger.kind)
            self._template(getattr(trigger, trigger.kind).params, f"{at}/params", EVENT_ROOTS)
            if trigger.event is not None:
                self._bare(trigger.event.when, f"{at}/when", EVENT_ROOTS)
        return self.reads

    def _node(self, name: str, node: Node) -> None:
        present = node.model_fields_set
        at = f"/nodes/{name}"
        if node.needs:
            for index, need in enumerate(node.needs):
                if isinstance(need, Need) and need.when is not None:
                    place = f"{at}/needs/{index}/when"
                    self._bare(need.when, place, NODE_ROOTS, reader=need.node, itself=True)
        if "when" in present:
            self._bare(node.when, f"{at}/when", NODE_ROOTS, reader=name)
        if node.map is not None:
            if isinstance(node.map.over, str):
                self._bare(node.map.over, f"{at}/map/over", NODE_ROOTS, reader=name)
            else:
                self._template(_plain(node.map.over), f"{at}/map/over", NODE_ROOTS, reader=name)
        if node.config:
            roots = ITEM_ROOTS if node.map is not None else NODE_ROOTS
            self._template(node.config, f"{at}/config", roots, reader=name)
        for path, value in _other_templates(node, present):
            roots = ITEM_ROOTS if node.map is not None else NODE_ROOTS
            self._template(value, f"{at}/{path}", roots, reader=name)

    def _bare(
        self,
        source: str | None,
        at: str,
        roots: frozenset[str],
        *,
        reader: str | None = None,
        itself: bool = False,
    ) -> None:
        if source is None:
            return
        try:
            found: Expression | ExpressionError = expression(source)
        except ExpressionError as error:
            found = error
        self._judge(at, found, roots, reader=reader, itself=itself)

    def _template(self, value: Any, at: str, roots: frozenset[str], *, reader: str | None = None) -> None:
        for place, found in find_expressions(value, at):
            self._judge(place, found, roots, reader=reader)

    def _judge(
        self,
        at: str,
        found: Expression | ExpressionError,
        roots: frozenset[str],
        anywhere: Iterable[str] = (),
        *,
        reader: str | None = None,
        itself: bool = False,
    ) -> None:
        """Judge one expression; `anywhere` are names that may be read without being upstream of anything."""
        if isinstance(found, ExpressionError):
            self.problems.add(at, found.message)
            return
        if not found.roots <= roots:
            strange = ", ".join(sorted(found.roots - roots))
            hint = (
                "; item is there in the config and the service's URL of a map node"
                if strange == "item"
                else ""
            )
            self.problems.add(at, f"'{strange}' cannot be read here, only {', '.join(sorted(roots))}{hint}")
        if reader is not None:
            self.reads.extend(Read(at, reader, name, itself) for name in found.reads)
        else:
            for name in found.reads:
                if name not in anywhere:
                    self.problems.add(at, f"there is no node '{name}'")
        if found.path is None and found.source not in self.compiled:
            self.compiled.add(found.source)
            try:
                found.compile()
            except ExpressionError as error:
                self.problems.add(at, error.message)


def _other_templates(node: Node, present: set[str]) -> Iterator[tuple[str, Any]]:
    """The fields of the rarer kinds of nodes that may hold expressions."""
    if node.wait is not None:
        yield from (("wait/duration", node.wait.duration), ("wait/until", node.wait.until))
    if node.approval is not None:
        yield "approval/message", node.approval.message
    if node.service is not None:
        yield "service/url", node.service.url
    if node.cache is not None:
        yield "cache/key", node.cache.key
    if isinstance(node.workflow, ChildWorkflow):
        yield "workflow/params", node.workflow.params


def _plain(over: Any) -> Any:
    return over if isinstance(over, list) else {"count": over.count, **(over.model_extra or {})}


class _Types:
    """Node types of a document: known, pinned to a version, and configured as their schema says."""

    def __init__(self, node_types: Mapping[str, NodeType], problems: Problems) -> None:
        self.problems = problems
        self.known = {(node_type.name, node_type.version): node_type for node_type in node_types.values()}
        self.newest: dict[str, int] = {}
        for name, version in self.known:
            self.newest[name] = max(version, self.newest.get(name, 0))
        self.found: dict[str, NodeType | str] = {}
        self.validators: dict[str, jsonschema_rs.Validator] = {}

    def check(self, nodes: Mapping[str, Node]) -> dict[str, str]:
        """Check every node; the pinned reference of each `type` that is used."""
        for name, node in nodes.items():
            if node.type is None:
                continue
            if self.problems.full:
                break
            found = self.found.get(node.type) or self._find(node.type)
            if isinstance(found, str):
                self.problems.add(f"/nodes/{name}/type", found)
            else:
                self._config(name, node, found)
        return {ref: found.ref for ref, found in self.found.items() if isinstance(found, NodeType)}

    def _find(self, ref: str) -> NodeType | str:
        name, version = parse_ref(ref) or (ref, None)
        if name not in self.newest:
            found: NodeType | str = f"there is no node type '{name}'{suggest(name, self.newest)}"
        else:
            wanted = version or self.newest[name]
            missing = f"'{name}' has no version {wanted}; the newest is {self.newest[name]}"
            found = self.known.get((name, wanted), missing)
        self.found[ref] = found
        return found

    def _config(self, name: str, node: Node, node_type: NodeType) -> None:
        if not node_type.config_schema:
            return
        compiled = self.validators.get(node_type.ref)
        if compiled is None:
            try:
                compiled = self.validators[node_type.ref] = validator(node_type.config_schema)
            except InvalidInput:
                self.problems.add(f"/nodes/{name}/type", f"the schema of '{node_type.ref}' is not valid")
                return
        config = node.config or {}
        if compiled.is_valid(config):
            return
        self.problems.extend(check_config(compiled, config, f"/nodes/{escape(name)}/config"))
