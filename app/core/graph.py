"""The compiled form of one workflow version: what the engine walks. Built once a version, never stored, never changed.

Nodes are numbered in the order of the document; edges keep the order of `needs`. Expressions are not compiled here:
each compiles when it is first evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from app.core.concurrency import Concurrency
from app.core.durations import parse_duration, parse_instant
from app.core.expressions import Env, Expression, Template, expression
from app.core.kinds import ApprovalDef, CacheDef, ChildDef
from app.core.pools import Lane, needs_of
from app.core.services import ServiceDef
from app.core.tasks import split_ref
from app.errors import ExpressionError

RENDERED_LIMIT = 1 << 20
"""Bytes of a config, or of a child run's params, that holds expressions: each node run keeps its own."""


class Kind(StrEnum):
    """What a node is. TASK runs something (`type` or `image`)."""

    TASK = "task"
    SERVICE = "service"
    WORKFLOW = "workflow"
    APPROVAL = "approval"
    WAIT = "wait"


class Join(StrEnum):
    """When a node with several upstream nodes runs."""

    ALL_SUCCEEDED = "all_succeeded"
    ALL_DONE = "all_done"
    ANY_SUCCEEDED = "any_succeeded"
    NONE_FAILED = "none_failed"


@dataclass(slots=True, frozen=True)
class Retry:
    """The retry policy of a node; times in milliseconds."""

    max_attempts: int = 3
    initial_ms: int = 1_000
    factor: float = 2.0
    max_ms: int = 100_000


@dataclass(slots=True, frozen=True)
class Timeouts:
    """Time limits of a node in milliseconds; None: no limit."""

    queued_ms: int | None = None
    start_ms: int = 600_000
    run_ms: int = 3_600_000
    heartbeat_ms: int = 60_000


AT_ONCE = 10_000
"""Items of a map that are under way at a time, where its document does not say: each has a record from its beginning on, and
the records of millions that wait for a slot would fill the store."""


@dataclass(slots=True, frozen=True)
class MapSpec:
    """A fan-out over a list; app.core.mapdata says what its items are."""

    over: Template | Expression
    """Gives the list, or the rule {count, ...}; use `items` and `rule`."""
    max_parallel: int = AT_ONCE
    tolerate: float = 0.0
    """The share of items that may fail."""
    counted: bool = False
    """`over` is {count, ...}."""

    @property
    def literal(self) -> list[Any] | None:
        """The list that stands in the document; None where it has to be evaluated."""
        over = self.over
        return over.value if isinstance(over, Template) and over.static and not self.counted else None

    def rule(self, env: Env, place: str = "/map/over") -> dict[str, Any]:
        """{count, ...} of a counted map. Raises ExpressionError that names `place`."""
        assert isinstance(self.over, Template)
        return self.over.render(env, place)

    def items(self, env: Env, place: str = "/map/over") -> list[Any]:
        """The list to fan out over. Raises ExpressionError that names `place`."""
        over = self.over
        value = over.evaluate(env, place) if isinstance(over, Expression) else over.render(env, place)
        if not isinstance(value, list):
            raise ExpressionError(f"{place}: a map needs a list", place=place)
        return value


class Edge(NamedTuple):
    """One edge, seen from either end: `node` is the index of the other end."""

    node: int
    when: Expression | None = None


@dataclass(slots=True, frozen=True, eq=False)
class NodeDef:
    """One node. `needs` are its edges to upstream nodes, `children` those to the nodes that need it."""

    index: int
    name: str
    kind: Kind
    type: str | None
    """The pinned node type, `name@version`; None for every kind but a TASK of a type."""
    image: str | None
    """The image of a TASK that names one itself."""
    executor: str | None
    """The executor that the document asks for."""
    service: ServiceDef | None
    """What a SERVICE calls."""
    child: ChildDef | None
    """What a WORKFLOW node starts."""
    approval: ApprovalDef | None
    """What an APPROVAL node asks."""
    cache: CacheDef | None
    needs: tuple[Edge, ...]
    children: tuple[Edge, ...]
    join: Join
    when: Expression | None
    config: Template
    map: MapSpec | None
    retry: Retry
    timeouts: Timeouts
    allow_failure: bool
    tolerate: float
    """The share of records of its stream that may fail."""
    wait_ms: Template | None
    """A wait's duration: text or the number 0; use `wait_ends`."""
    wait_until: Template | None
    """A wait's instant; use `wait_ends`."""
    priority: int | None
    """1 to 5, 1 the most urgent; None: that of the run."""
    pools: tuple[tuple[str, int], ...]
    """(name, slots) of each pool listed."""
    needs_slots: str
    """All the pools it needs, as its lane keeps them."""
    reads: frozenset[int]
    """Indices of the nodes read when it becomes ready: by its own when, config, map.over, wait, service,
    child run, approval and cache."""
    item_reads: frozenset[int]
    """Those of them that each item of its map reads too."""

    def rendered(self, env: Env, place: str) -> dict[str, bytes | str]:
        """The fields of a node run that keep its expressions' values for all its attempts. Raises ExpressionError.

        What holds no expression is not kept: the graph has it.
        """
        fields: dict[str, bytes | str] = {}
        if not self.config.static and self.child is None:
            fields["c"] = _kept(self.config, env, f"{place}/config")
        if self.service is not None and not self.service.url.static:
            fields["su"] = self.service.url.render(env, f"{place}/service/url")
        if self.child is not None and not self.child.params.static:
            fields["c"] = _kept(self.child.params, env, f"{place}/{self.child.place}")
        return fields

    @property
    def cleans_up(self) -> bool:
        """Whether it runs whatever became of the nodes before it, so that `on_failure: fail` leaves it be."""
        return self.join is Join.ALL_DONE and bool(self.needs)

    def wait_ends(self, env: Env, now_ms: int) -> int:
        """Unix ms at which this WAIT node is over, never before `now_ms`. Raises ExpressionError that names the place."""
        relative = self.wait_ms is not None
        place = f"nodes/{self.name}/wait/{'duration' if relative else 'until'}"
        template = self.wait_ms if relative else self.wait_until
        value = template.render(env, place) if template else 0
        try:
            ends = now_ms + parse_duration(value) if relative else parse_instant(value)
        except ValueError as error:
            raise ExpressionError(f"{place}: {error}", place=place) from None
        return max(ends, now_ms)


@dataclass(slots=True, eq=False)
class Graph:
    """One workflow version, compiled."""

    workflow: str
    version: int
    nodes: list[NodeDef]
    index: dict[str, int]
    """Node name to position in `nodes`."""
    roots: list[int]
    """Indices of the nodes without needs."""
    output: Template | None
    """Rendered when the run ends: the run's own metadata."""
    params_schema: dict[str, Any] | None = None
    output_reads: frozenset[int] = field(default_factory=frozenset)
    """Indices of the nodes that `output` reads."""
    retention_ms: int | None = None
    """How long a finished run is kept; None: as long as the installation says."""
    concurrency: Concurrency | None = None
    timeout_ms: int | None = None
    """Of the whole run, from its start; None: no limit."""
    fail_fast: bool = False
    """`on_failure: fail`: the first failure cancels what is left but for clean-up nodes."""

    def node_of(self, ref: str) -> NodeDef:
        """The node of a node run, or of an item of its map. Raises KeyError."""
        index = self.index.get(ref)
        return self.node(split_ref(ref)[0]) if index is None else self.nodes[index]

    def lane(self, ref: str, priority: int) -> Lane:
        """Where a node run waits for its slots; `priority` is that of its run, which the node's own goes before."""
        node = self.node_of(ref)
        return Lane(node.needs_slots, self.workflow, node.priority or priority)

    def node(self, name: str) -> NodeDef:
        """The node called `name`. Raises KeyError."""
        return self.nodes[self.index[name]]

    def __len__(self) -> int:
        return len(self.nodes)


def _kept(template: Template, env: Env, place: str) -> bytes:
    """Its value as a node run keeps it. Raises ExpressionError that names `place`."""
    raw = orjson.dumps(template.render(env, place))
    if len(raw) > RENDERED_LIMIT:
        raise ExpressionError(
            f"{place}: with the values of its expressions it is {len(raw):,} bytes, and at most {RENDERED_LIMIT:,} "
            "are kept for each node run; name where the data is instead", place=place,
        )  # fmt: skip
    return raw


NOTHING = Template({})
_NO_READS: frozenset[int] = frozenset()


def compile_graph(document: Mapping[str, Any], *, version: int) -> Graph:
    """Compile a checked, pinned document (`Workflow.canonical()`); does no checking of its own."""
    nodes: Mapping[str, Mapping[str, Any]] = document["nodes"]
    index = {name: position for position, name in enumerate(nodes)}
    builder = _Builder(document.get("defaults", {}), index)
    needs = [builder.edges(node) for node in nodes.values()]
    children: list[list[Edge]] = [[] for _ in nodes]
    for position, edges in enumerate(needs):
        for edge in edges:
            children[edge.node].append(Edge(position, edge.when))
    output = Template(document["output"]) if "output" in document else None
    return Graph(
        workflow=document["name"],
        version=version,
        nodes=[
            builder.node(position, name, node, needs[position], tuple(children[position]))
            for position, (name, node) in enumerate(nodes.items())
        ],
        index=index,
        roots=[position for position, edges in enumerate(needs) if not edges],
        output=output,
        params_schema=document.get("params"),
        output_reads=frozenset(index[name] for name in output.reads) if output else _NO_READS,
        retention_ms=parse_duration(document["retention"]) if "retention" in document else None,
        concurrency=Concurrency.of(document),
        timeout_ms=parse_duration(document["timeout"]) if "timeout" in document else None,
        fail_fast=document.get("on_failure") == "fail",
    )


class _Builder:
    """Builds node definitions; equal policies are one shared object."""

    def __init__(self, defaults: Mapping[str, Any], index: Mapping[str, int]) -> None:
        self.index = index
        self.default_retry: Mapping[str, Any] = defaults.get("retry", {})
        self.default_timeout: Mapping[str, Any] = defaults.get("timeout", {})
        self.retry = _retry(self.default_retry)
        self.timeouts = _timeouts(self.default_timeout)

    def edges(self, node: Mapping[str, Any]) -> tuple[Edge, ...]:
        return tuple(
            Edge(self.index[need])
            if isinstance(need, str)
            else Edge(self.index[need["node"]], expression(need["when"]) if "when" in need else None)
            for need in node.get("needs", ())
        )

    def node(
        self,
        position: int,
        name: str,
        node: Mapping[str, Any],
        needs: tuple[Edge, ...],
        children: tuple[Edge, ...],
    ) -> NodeDef:
        kind = kind_of(node)
        when = expression(node["when"]) if "when" in node else None
        config = Template(node["config"]) if node.get("config") else NOTHING
        fan_out = _map(node["map"]) if "map" in node else None
        service = ServiceDef.of(node["service"]) if "service" in node else None
        wait: Mapping[str, Any] = node.get("wait", {})
        wait_ms = Template(wait["duration"]) if "duration" in wait else None
        wait_until = Template(wait["until"]) if "until" in wait else None
        child = ChildDef.of(node) if "workflow" in node else None
        approval = ApprovalDef.of(node["approval"]) if "approval" in node else None
        cache = CacheDef.of(node["cache"]) if "cache" in node else None
        own = (
            config, wait_ms, wait_until, service and service.url, child and child.params,
            approval and approval.message, cache and cache.key,
        )  # fmt: skip
        pools = tuple(map(_pool, node.get("pools", ())))
        return NodeDef(
            index=position,
            name=name,
            kind=kind,
            type=node.get("type"),
            image=node.get("image"),
            executor=node.get("executor"),
            service=service,
            child=child,
            approval=approval,
            cache=cache,
            needs=needs,
            children=children,
            join=Join(node.get("join", Join.ALL_SUCCEEDED)),
            when=when,
            config=config,
            map=fan_out,
            retry=_retry({**self.default_retry, **node["retry"]}) if "retry" in node else self.retry,
            timeouts=_timeouts({**self.default_timeout, **node["timeout"]})
            if "timeout" in node
            else self.timeouts,
            allow_failure=node.get("allow_failure", False),
            tolerate=float(node.get("tolerate", 0.0)),
            wait_ms=wait_ms,
            wait_until=wait_until,
            priority=node.get("priority"),
            pools=pools,
            needs_slots=needs_of(node.get("type"), pools),
            reads=self.reads((when, fan_out and fan_out.over, *own)),
            item_reads=self.reads(own) if fan_out else _NO_READS,
        )

    def reads(self, sources: Iterable[Template | Expression | None]) -> frozenset[int]:
        found = [self.index[name] for source in sources if source is not None for name in source.reads]
        return frozenset(found) if found else _NO_READS


def kind_of(node: Mapping[str, Any]) -> Kind:
    """The kind of a node of a document."""
    for kind in (Kind.WAIT, Kind.APPROVAL, Kind.SERVICE, Kind.WORKFLOW):
        if kind in node:
            return kind
    return Kind.TASK


def _map(spec: Mapping[str, Any]) -> MapSpec:
    over = spec["over"]
    return MapSpec(
        over=expression(over) if isinstance(over, str) else Template(over),
        max_parallel=spec.get("max_parallel", AT_ONCE),
        tolerate=float(spec.get("tolerate", 0.0)),
        counted=isinstance(over, Mapping),
    )


def _pool(pool: str | Mapping[str, Any]) -> tuple[str, int]:
    return (pool, 1) if isinstance(pool, str) else (pool["name"], pool.get("slots", 1))


def _retry(policy: Mapping[str, Any]) -> Retry:
    standard = Retry()
    return Retry(
        max_attempts=policy.get("max_attempts", standard.max_attempts),
        initial_ms=_ms(policy, "initial", standard.initial_ms),
        factor=float(policy.get("factor", standard.factor)),
        max_ms=_ms(policy, "max", standard.max_ms),
    )


def _timeouts(limits: Mapping[str, Any]) -> Timeouts:
    standard = Timeouts()
    return Timeouts(
        queued_ms=parse_duration(limits["queued"]) if "queued" in limits else None,
        start_ms=_ms(limits, "start", standard.start_ms),
        run_ms=_ms(limits, "run", standard.run_ms),
        heartbeat_ms=_ms(limits, "heartbeat", standard.heartbeat_ms),
    )


def _ms(values: Mapping[str, Any], name: str, otherwise: int) -> int:
    return parse_duration(values[name]) if name in values else otherwise
