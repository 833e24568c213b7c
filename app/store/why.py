"""Why something does not run: reads what app/core/why.py makes reasons of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import orjson

from app.core.concurrency import Limit
from app.core.durations import parse_instant
from app.core.graph import Graph
from app.core.reasons import MOST_NAMED, WHY_FIELDS, Facts, Held, Reason, Record, RunRecord
from app.core.states import NODE_TERMINAL, RUN_TERMINAL, NodeStatus, RunStatus
from app.core.tasks import split_ref
from app.core.why import why_node, why_run
from app.errors import NotFound
from app.store.client import Batcher
from app.store.history import History
from app.store.ids import receipt_of
from app.store.keys import Keys
from app.store.workers import Workers

LOOKED_AT = 20_000
"""Node runs of one run that are looked through for those that go on, or failed."""
PAGE = 1000
NO_GRAPH = Graph("", 0, [], {}, [], None)
FEW = 5
"""Runs with a place that are named to one that waits."""
LOOKED_AT_ITEMS = 100
"""Items of a map that are looked at for one that waits."""
RUN_FIELDS = ("s", "w", "v", "c", "b", "z", "pz", "x", "qz", "ck", "cl")

Place = Callable[[str, str, str], Awaitable[dict[str, Any] | None]]
"""(run, ref, prefix of workflows whose runs may be named) -> the place of a ready node run in the queue"""


class Why:
    def __init__(
        self,
        batcher: Batcher,
        keys: Keys,
        history: History,
        workers: Workers,
        graph: Callable[[str, int], Awaitable[Graph]],
        findings: Callable[[], Awaitable[list[str]]],
        place: Place,
    ) -> None:
        self._batcher = batcher
        self._keys = keys
        self._history = history
        self._workers = workers
        self._graph = graph
        self._findings = findings
        self._place = place

    async def run(self, run: str, prefix: str = "") -> list[dict[str, Any]]:
        """Why a run does not go on, or how it came to its end. Raises NotFound."""
        record, graph = await self._run(run)
        records, more = await self._told(record, graph)
        for name in [ref for ref, each in records.items() if _goes_over_items(each)][:MOST_NAMED]:
            records |= await self._waiting_item(run, name, records[name])
        ready = next((ref for ref, each in records.items() if each.status is NodeStatus.READY), None)
        facts = await self._facts(run, ready, prefix)
        return _shown(why_run(graph, record, records, facts, more))

    async def node(self, run: str, ref: str, prefix: str = "") -> list[dict[str, Any]]:
        """Why a node run does not go on, or how it came to its end. Raises NotFound."""
        record, graph = await self._run(run)
        name, item = split_ref(ref)
        if name not in graph.index:
            raise NotFound(f"The workflow of run '{run}' has no node '{name}'.")
        records = await self._records(run, dict.fromkeys((ref, name, *_upstream(graph, name))))
        if item is not None and not (graph.node(name).map and item < (records[name].count or item + 1)):
            raise NotFound(f"Node '{name}' has no item {item}.")
        await self._blocked(run, graph, name, records)
        if item is None and _goes_over_items(records[ref]):
            records |= await self._waiting_item(run, ref, records[ref])
        waits = next((each for each in records if _waits(each, ref, records[each])), None)
        return _shown(why_node(graph, record, ref, records, await self._facts(run, waits, prefix)))

    def of_archived(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """How a run came to its end that only the archive has, as its GET answers."""
        record = RunRecord(
            run["id"], RunStatus(run["status"]), ended=parse_instant(run["ended"]), error=run["error"]
        )
        return _shown(why_run(NO_GRAPH, record, {}, Facts(record.ended)))

    async def _run(self, run: str) -> tuple[RunRecord, Graph]:
        s, w, v, c, b, z, pz, x, qz, ck, cl = await self._history.run(run, RUN_FIELDS)
        if s is None or w is None:
            return await self._queued(run)
        record = RunRecord(
            run, RunStatus(s.decode()), int(c or 0), int(b or 0), int(z or 0), int(pz or 0),
            orjson.loads(x) if x else None,
            held=await self._held(run, w.decode(), int(qz), ck.decode(), cl) if qz and ck and s == b"queued" else None,
        )  # fmt: skip
        return record, await self._graph(w.decode(), int(v or 0))

    async def _held(self, run: str, workflow: str, since: int, digest: str, limit: bytes | None) -> Held:
        keys = self._keys
        calls = [
            self._batcher.call("HGET", keys.workflow(workflow), "paused"),
            self._batcher.call("ZRANGE", keys.concurrency(workflow, digest), 0, FEW - 1),
            self._batcher.call("ZRANK", keys.concurrency_queue(workflow, digest), run),
        ]
        paused, running, ahead = [await call for call in calls]
        known = Limit.decode(limit) if limit else None
        return Held(since, known.key[:200] if known else "", known.max if known else 0,
                    [each.decode() for each in running], int(ahead or 0), int(paused or 0))  # fmt: skip

    async def _queued(self, run: str) -> tuple[RunRecord, Graph]:
        key = self._keys.receipt(receipt_of(run))
        s, w, v, c, r = await self._batcher.call("HMGET", key, "s", "w", "v", "c", "r")
        if s != b"queued" or r != run.encode():
            raise NotFound(f"There is no run '{run}'.")
        version = await self._history.queued_version(w, v)
        return RunRecord(run, RunStatus.QUEUED, int(c or 0), taken=False), await self._graph(
            w.decode(), version
        )

    async def _records(self, run: str, refs: Iterable[str]) -> dict[str, Record]:
        names = list(refs)
        rows = await self._history.node_runs(run, names, WHY_FIELDS)
        return {ref: Record.parse(values) for ref, values in zip(names, rows, strict=True)}

    async def _told(self, run: RunRecord, graph: Graph) -> tuple[dict[str, Record], int]:
        """The node runs that say most about a run, and how many others of their kind there are."""
        if run.status is RunStatus.QUEUED:
            return {}, 0
        ended = run.status in RUN_TERMINAL
        wanted = {NodeStatus.FAILED, NodeStatus.BLOCKED} if ended else set(NodeStatus) - NODE_TERMINAL
        found, more = dict[str, Record](), 0
        names = [node.name for node in graph.nodes[:LOOKED_AT]]
        for start in range(0, len(names), PAGE):
            page = await self._records(run.id, names[start : start + PAGE])
            for ref, record in page.items():
                if record.status not in wanted or record.status is NodeStatus.PENDING:
                    continue
                if len(found) < MOST_NAMED or ended:
                    found[ref] = record
                else:
                    more += 1
        return found, more

    async def _waiting_item(self, run: str, name: str, record: Record) -> dict[str, Record]:
        """The item of a map that says most about why it does not go on: of those that began last, one that has no slot yet."""
        refs = [f"{name}:{item}" for item in range(max(record.cursor - LOOKED_AT_ITEMS, 0), record.cursor)]
        found = await self._records(run, refs)
        for status in (NodeStatus.READY, NodeStatus.WAITING, NodeStatus.STARTING):
            for ref, each in found.items():
                if each.status is status:
                    return {ref: each}
        return {}

    async def _blocked(self, run: str, graph: Graph, name: str, records: dict[str, Record]) -> None:
        """Go on upwards from what is blocked, to the failures that block it."""
        seen, work = {name}, [name]
        while work and len(records) < PAGE:
            blocked = [each for each in work if records[each].status is NodeStatus.BLOCKED]
            above = {each for node in blocked for each in _upstream(graph, node)} - seen
            seen |= above
            records |= await self._records(run, above - records.keys())
            work = list(above)

    async def _facts(self, run: str, ready: str | None, prefix: str) -> Facts:
        depth = self._batcher.call("XLEN", self._keys.triggers)
        now, live, findings = await asyncio.gather(
            self._workers.now(), self._workers.live(), self._findings()
        )
        place = await self._place(run, ready, prefix) if ready is not None else None
        return Facts(now, len(live), findings, await depth, place, ready or "")


def _goes_over_items(record: Record) -> bool:
    return record.status is NodeStatus.RUNNING and record.cursor > record.ok + record.bad


def _waits(ref: str, asked: str, record: Record) -> bool:
    """Whether this is the node run that was asked about, or an item of it, and waits for its turn."""
    return record.status is NodeStatus.READY and (ref == asked or ref.startswith(f"{asked}:"))


def _upstream(graph: Graph, name: str) -> list[str]:
    return [graph.nodes[edge.node].name for edge in graph.node(name).needs]


def _shown(reasons: list[Reason]) -> list[dict[str, Any]]:
    return [reason.shown() for reason in reasons]
