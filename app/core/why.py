"""Why something does not run, or how it came to its end: (graph, what is recorded, facts about the installation) -> reasons.

The most decisive reason comes first. Everything that is not terminal has at least one; so has every end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.core.graph import Graph, Join, Kind, NodeDef
from app.core.reasons import MOST_NAMED, Code, Facts, Held, Reason, Record, RunRecord
from app.core.round import iso
from app.core.states import NODE_TERMINAL, RUN_TERMINAL, STEPS, NodeStatus, RunStatus
from app.core.tasks import split_ref


def why_node(
    graph: Graph, run: RunRecord, ref: str, records: Mapping[str, Record], facts: Facts
) -> list[Reason]:
    """The reasons of one node run; `records` has it, its map's and those of the nodes it needs, by ref."""
    node, record = graph.node_of(ref), records.get(ref, Record())
    if record.status in NODE_TERMINAL:
        return list(_ended(graph, node, record, records))
    found = [*_of_run(run, facts), *_live(graph, run, node, ref, record, records, facts)]
    if ref == node.name:
        found += _items(graph, run, node, records, facts)
    return found + list(_installation(facts, waits=record.status is not NodeStatus.RUNNING))


def _items(
    graph: Graph, run: RunRecord, node: NodeDef, records: Mapping[str, Record], facts: Facts
) -> Iterator[Reason]:
    """Of a map, what the items that `records` has wait for."""
    for ref, record in records.items():
        name, item = split_ref(ref)
        if name != node.name or item is None:
            continue
        for reason in _live(graph, run, node, ref, record, records, facts):
            text = f"item {item} is {record.status}: {reason.detail}"
            yield Reason(reason.code, text, reason.since, {"item": item, **reason.more})


def why_run(
    graph: Graph, run: RunRecord, records: Mapping[str, Record], facts: Facts, more: int = 0
) -> list[Reason]:
    """The reasons of a run; `records` has the node runs that are not terminal and have begun (some of them: `more` is how
    many others there are), and of an ended run those that say why it ended so."""
    if run.status in RUN_TERMINAL:
        return list(_run_ended(graph, run, records))
    found = list(_of_run(run, facts))
    named = 0
    for ref, record in records.items():
        if record.status in NODE_TERMINAL or record.status is NodeStatus.PENDING:
            continue
        first = next(_live(graph, run, graph.node_of(ref), ref, record, records, facts))
        name, item = split_ref(ref)
        members = {"node": name, "status": str(record.status), "reason": str(first.code)}
        members |= {} if item is None else {"item": item}
        found.append(Reason(Code.NODE, f"'{ref}' is {record.status}: {first.detail}", first.since, members))
        named += 1
    if more:
        found.append(Reason(Code.NODE, f"{more} further node runs have not ended", 0, {"count": more}))
    if not found:
        found.append(_not_decided(run.started or run.created))
    return found + list(_installation(facts, waits=True))


# what holds the whole run, or everything ---------------------------------------------------------------------------


def _of_run(run: RunRecord, facts: Facts) -> Iterator[Reason]:
    if not run.taken:
        text = f"the trigger waits in the queue, with {facts.triggers} in all" if facts.triggers > 1 else (
            "the trigger waits in the queue")  # fmt: skip
        yield Reason(Code.TRIGGER_QUEUED, text, run.created, {"queued": facts.triggers})
    elif run.held is not None:
        yield from _held(run.held)
    elif run.status is RunStatus.QUEUED:
        yield _not_decided(run.created)
    if run.paused:
        yield Reason(Code.PAUSED, "the run is paused: nothing of it starts", run.paused)


def _held(held: Held) -> Iterator[Reason]:
    if held.workflow_paused:
        yield Reason(
            Code.WORKFLOW_PAUSED, "its workflow is paused: no run of it begins", held.workflow_paused
        )
    elif not held.most:
        yield _not_decided(held.since)
    if held.most:
        key = f" with the key '{held.key}'" if held.key else ""
        text = f"at most {held.most} runs{key} go on at a time, and {held.ahead} wait before it"
        members = {"key": held.key, "max": held.most, "running": list(held.running), "ahead": held.ahead}
        yield Reason(Code.CONCURRENCY, text, held.since, members)


def _not_decided(since: int) -> Reason:
    return Reason(Code.NOT_DECIDED, "a worker has yet to decide what comes next", since)


def _installation(facts: Facts, *, waits: bool) -> Iterator[Reason]:
    if not facts.workers and waits:
        yield Reason(Code.NO_WORKER, "no worker is alive: nothing is decided and nothing starts")
    for finding in facts.findings:
        yield Reason(Code.NOT_DURABLE, f"Redis may lose what it acknowledges: {finding}")


# a node run that goes on ------------------------------------------------------------------------------------------


def _live(
    graph: Graph, run: RunRecord, node: NodeDef, ref: str, record: Record, records: Mapping[str, Record], facts: Facts
) -> Iterator[Reason]:  # fmt: skip
    """At least one reason, the most decisive first."""
    match record.status:
        case NodeStatus.PENDING:
            yield from _pending(graph, run, node, ref, records)
        case NodeStatus.READY:
            yield from _ready(node, record, facts.place or {} if ref == facts.placed else {})
        case NodeStatus.STARTING:
            yield from _starting(record)
        case NodeStatus.WAITING:
            yield _waiting(node, record)
        case _:
            yield from _hindered(record)
            yield _running(node, ref, record)


def _hindered(record: Record) -> Iterator[Reason]:
    """What its executor says against it, of this launch."""
    told = record.executor
    if (
        told is not None
        and told.get("code")
        and (told.get("a"), told.get("l")) == (record.attempt, record.launch)
    ):
        yield Reason(Code.EXECUTOR, f"{told['code']}: {told.get('detail', '')}", int(told.get("since", 0)),
                     {"reason": told["code"]})  # fmt: skip


def _pending(
    graph: Graph, run: RunRecord, node: NodeDef, ref: str, records: Mapping[str, Record]
) -> Iterator[Reason]:
    if split_ref(ref)[1] is not None:
        parent = records.get(node.name, Record())
        if parent.status is NodeStatus.RUNNING:
            live = parent.cursor - parent.ok - parent.bad
            limit = node.map.max_parallel if node.map is not None else 0
            text = f"{live} items are under way, at most {limit} at a time"
            yield Reason(Code.MAX_PARALLEL, text, parent.running, {"live": live, "max_parallel": limit})
            return
    upstream = [
        (graph.nodes[edge.node].name, records.get(graph.nodes[edge.node].name, Record()))
        for edge in node.needs
    ]
    open_ = [(name, record) for name, record in upstream if record.status not in NODE_TERMINAL]
    if not open_:
        ends = [record.ended for _, record in upstream]
        yield _not_decided(max([*ends, run.started or run.created]))
        return
    names = ", ".join(f"{name} ({record.status})" for name, record in open_[:MOST_NAMED])
    rest = f" and {len(open_) - MOST_NAMED} more" if len(open_) > MOST_NAMED else ""
    some = "one of " if node.join is Join.ANY_SUCCEEDED and len(node.needs) > 1 else ""
    nodes = [{"node": name, "status": str(record.status)} for name, record in open_[:MOST_NAMED]]
    yield Reason(Code.DEPENDENCY, f"waits for {some}{names}{rest}", run.started or run.created,
                 {"nodes": nodes, "count": len(open_), "of": len(upstream)})  # fmt: skip


def _ready(node: NodeDef, record: Record, place: Mapping[str, Any]) -> Iterator[Reason]:
    if not record.attempt:
        yield Reason(Code.NOT_DECIDED, "a worker has yet to look its key up in the cache", record.ready)
        return
    if node.kind is Kind.WORKFLOW:
        yield Reason(Code.NOT_DECIDED, "its child run starts when the run goes on", record.ready)
        return
    for lack in place.get("lacks", ()):
        kept = ", which keeps free ones for another that has waited longer" if lack.get("reserved") else ""
        text = f"the pool '{lack['pool']}' has {lack['used']} of {lack['slots']} slots taken{kept}"
        yield Reason(Code.POOL, text, record.ready, dict(lack))
    ahead = int(place.get("ahead", 0))
    first = "1 node run goes first" if ahead == 1 else f"{ahead} node runs go first"
    text = first if ahead else "waits for a worker with a free place"
    members = {name: place[name] for name in ("ahead", "priority") if name in place}
    yield Reason(Code.TURN, text, record.ready, members)


def _starting(record: Record) -> Iterator[Reason]:
    yield from _hindered(record)
    if record.stop:
        yield _stopping(record)
    elif record.launched:
        yield Reason(Code.STARTING, "its process runs and has not called start yet", record.launched)
    else:
        yield Reason(Code.STARTING, "its executor was asked to start it", record.starting)


def _running(node: NodeDef, ref: str, record: Record) -> Reason:
    if node.map is not None and split_ref(ref)[1] is None:
        ended = record.ok + record.bad
        counts = {
            "count": record.count,
            "started": record.cursor,
            "succeeded": record.ok,
            "failed": record.bad,
        }
        text = f"{ended} of {record.count} items have ended, {record.cursor - ended} are under way"
        return Reason(Code.ITEMS, text, record.running, counts)
    if record.won:
        return Reason(Code.FINALIZING, "its output is accepted; it cleans up", record.won)
    if record.stop:
        return _stopping(record)
    if node.kind is Kind.SERVICE:
        return Reason(Code.SERVICE, "the service was called and has not answered", record.running)
    step = STEPS[min(record.step, len(STEPS) - 1)]
    return Reason(Code.RUNNING, f"attempt {record.attempt} is in its step {step}", record.running,
                  {"step": str(step), "heartbeat": iso(record.heartbeat) if record.heartbeat else None})  # fmt: skip


def _stopping(record: Record) -> Reason:
    return Reason(
        Code.STOPPING, f"its attempt is being stopped: {record.stop.replace('_', ' ')}", record.stop_at
    )


def _waiting(node: NodeDef, record: Record) -> Reason:
    until = {"until": iso(record.until)} if record.until else {}
    ends = f" until {iso(record.until)}" if record.until else ""
    match node.kind:
        case Kind.WAIT:
            return Reason(Code.WAIT, f"waits{ends}", record.ready, until)
        case Kind.APPROVAL:
            asks = {"message": record.message}
            return Reason(Code.APPROVAL, f"waits for an approval{ends}", record.ready, until | asks)
        case Kind.WORKFLOW if record.child:
            return Reason(
                Code.CHILD, f"its child run {record.child} goes on", record.ready, {"run": record.child}
            )
        case _ if record.circuit:
            text = f"calls to {record.circuit} failed too often; the next is tried{ends}"
            return Reason(Code.CIRCUIT, text, record.ready, until | {"host": record.circuit})
        case _:
            cause = f": {record.error.get('message', '')}" if record.error else ""
            return Reason(Code.BACK_OFF, f"attempt {record.attempt} follows after a back-off{ends}{cause}",
                          record.ready, until | {"attempt": record.attempt})  # fmt: skip


# ends -------------------------------------------------------------------------------------------------------------


def _ended(graph: Graph, node: NodeDef, record: Record, records: Mapping[str, Record]) -> Iterator[Reason]:
    match record.status:
        case NodeStatus.SUCCEEDED:
            yield _succeeded(record)
        case NodeStatus.FAILED:
            yield _failed(record)
        case NodeStatus.CANCELLED:
            yield Reason(Code.CANCELLED, "it was cancelled", record.ended)
        case NodeStatus.BLOCKED:
            yield from _chain(graph, node, records, record.ended)
        case _:
            skipped = [graph.nodes[edge.node].name for edge in node.needs
                       if records.get(graph.nodes[edge.node].name, Record()).status is NodeStatus.SKIPPED]  # fmt: skip
            text = f"{', '.join(skipped[:MOST_NAMED])} was skipped" if skipped else "its condition says so"
            yield Reason(Code.SKIPPED, text, record.ended, {"nodes": skipped[:MOST_NAMED]})


def _succeeded(record: Record) -> Reason:
    if record.cached is None:
        return Reason(Code.SUCCEEDED, "it succeeded", record.ended, {"attempt": record.attempt})
    text = f"its metadata came from the cache: run {record.cached.get('run')}"
    return Reason(Code.SUCCEEDED, text, record.ended, {"attempt": 0, "cached_from": dict(record.cached)})


def _failed(record: Record) -> Reason:
    error = record.error or {}
    text = str(error.get("message") or "no message")
    return Reason(Code.FAILED, text, record.ended, {"attempt": record.attempt, "error": dict(error)})


def _chain(graph: Graph, node: NodeDef, records: Mapping[str, Record], since: int) -> Iterator[Reason]:
    """A blocked node: down to the failures that block it."""
    blocked, causes = [node], list[tuple[str, Record]]()
    seen = {node.name}
    while blocked and len(causes) < MOST_NAMED:
        for edge in blocked.pop().needs:
            above = graph.nodes[edge.node]
            record = records.get(above.name, Record())
            if above.name in seen:
                continue
            seen.add(above.name)
            if record.status is NodeStatus.BLOCKED:
                blocked.append(above)
            elif record.status in (NodeStatus.FAILED, NodeStatus.CANCELLED):
                causes.append((above.name, record))
    names = [name for name, _ in causes]
    text = f"upstream: {', '.join(names)}" if names else "what is upstream did not end as its join asks"
    yield Reason(Code.BLOCKED, text, since, {"nodes": names})
    for name, record in causes:
        reason = (
            _failed(record)
            if record.status is NodeStatus.FAILED
            else Reason(Code.CANCELLED, "it was cancelled", record.ended)
        )
        yield Reason(reason.code, f"'{name}': {reason.detail}", reason.since, {"node": name, **reason.more})


def _run_ended(graph: Graph, run: RunRecord, records: Mapping[str, Record]) -> Iterator[Reason]:
    if run.status is RunStatus.SUCCEEDED:
        yield Reason(Code.SUCCEEDED, "every node ended and none failed that must not", run.ended)
        return
    code = Code.CANCELLED if run.status is RunStatus.CANCELLED else Code.FAILED
    error = run.error or {}
    text = str(error.get("message") or f"the run {run.status}")
    yield Reason(code, text, run.ended, {"error": dict(error)})
    failed = sorted(((record.ended, ref) for ref, record in records.items() if record.status is NodeStatus.FAILED
                     and not graph.node_of(ref).allow_failure))  # fmt: skip
    for _, ref in failed[:MOST_NAMED]:
        reason = _failed(records[ref])
        yield Reason(reason.code, f"'{ref}': {reason.detail}", reason.since, {"node": ref, **reason.more})
    blocked = sum(record.status is NodeStatus.BLOCKED for record in records.values())
    if blocked:
        yield Reason(Code.BLOCKED, f"{blocked} nodes could not run because of that", 0, {"count": blocked})
