"""Node runs that a new run keeps of an ended one: planned, and copied in bounded parts before the new run begins.

The trigger stays in its stream until then, so a worker may die between any two parts: the next one does all of it
again, with the same outcome, since an ended run does not change and is pinned. The metadata of what is kept names data of
the run that it ran in, so that one is pinned too.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from app.core.graph import Graph
from app.core.retrying import Ask, Plan, Was, changed_nodes, plan, redoes
from app.core.states import RUN_TERMINAL, NodeStatus
from app.errors import NotFound, RunNotFinished
from app.store.client import Arg, Batcher, Script
from app.store.history import History
from app.store.ids import made_at
from app.store.keys import Keys
from app.store.retention import Retention
from app.store.triggers import QueuedTrigger

TAKE_OVER = Script("take_over")

READ = 1_000
"""Node runs whose status is read at a time."""
PART = 200
"""Node runs that one script writes."""
PART_BYTES = 1 << 20
"""Bytes after which a part ends, whatever is in it."""
LOOK_MS = 3600 * 1000
"""How long after a part was written it is looked at whether the run came to be."""

_OWN = frozenset(
    {
        b"i",
        b"h",
        b"kc",
        b"ke",
        b"ko",
        b"kf",
        b"t",
        b"tm",
        b"d",
        b"er",
        b"dw",
        b"cb",
        b"ov",
        b"of",
        b"kn",
        b"rd",
    }
)
"""Fields of a node run that fence, time or feed a live one: they are not taken over."""

RECENT = 4
"""Plans that are remembered, so that the pages of a preview do not each read the whole run."""

Record = Mapping[bytes, bytes]


@dataclass(slots=True, frozen=True)
class Source:
    """An ended run that another one is made from."""

    id: str
    workflow: str
    version: int
    params: Any
    event: Any
    labels: Mapping[str, str]
    priority: int
    via: list[str] = field(default_factory=list[str])
    """The workflows on the way to it, where another run fired it."""


class Takeover:
    def __init__(
        self,
        batcher: Batcher,
        keys: Keys,
        history: History,
        retention: Retention,
        document: Callable[[str, int], Awaitable[dict[str, Any]]],
        graph: Callable[[str, int], Awaitable[Graph]],
    ) -> None:
        self._batcher = batcher
        self._keys = keys
        self._history = history
        self._retention = retention
        self._document = document
        self._graph = graph
        self._recent: OrderedDict[tuple[object, ...], tuple[Plan, Mapping[str, Was]]] = OrderedDict()

    async def preview(self, source: Source, graph: Graph, ask: Ask) -> tuple[Plan, Mapping[str, Was]]:
        """As `plan`, which is not made again at once: an ended run does not change."""
        key = (source.id, graph.workflow, graph.version, ask.by, ask.at, ask.metadata is None)
        found = self._recent.get(key)
        if found is None:
            found = self._recent[key] = await self.plan(source, graph, ask)
            if len(self._recent) > RECENT:
                self._recent.popitem(last=False)
        return found

    async def source(self, run: str) -> Source:
        """Raises NotFound for one that is not kept, RunNotFinished for one that has not ended."""
        fields = ("s", "w", "v", "p", "ev", "l", "y", "up")
        s, w, v, p, ev, l, y, up = await self._history.run(run, fields)  # noqa: E741
        if s is None or w is None:
            raise NotFound(f"Run '{run}' is not kept any more, or was never there.")
        if s.decode() not in RUN_TERMINAL:
            raise RunNotFinished(run=run, run_status=s.decode())
        via = orjson.loads(up).get("via", []) if up else []
        return Source(run, w.decode(), int(v or 0), orjson.loads(p or b"{}"), orjson.loads(ev) if ev else None,
                      orjson.loads(l) if l else {}, int(y or 3), via)  # fmt: skip

    async def plan(self, source: Source, graph: Graph, ask: Ask) -> tuple[Plan, Mapping[str, Was]]:
        """What a new run of this graph keeps, and how everything ended. Raises NotFound, InvalidInput."""
        before, changed = graph, frozenset[str]()
        if (source.workflow, source.version) != (graph.workflow, graph.version):
            before = await self._graph(source.workflow, source.version)
            old = await self._document(source.workflow, source.version)
            changed = changed_nodes(old, await self._document(graph.workflow, graph.version))
        was: dict[str, Was] = {}
        for at in range(0, len(before.nodes), READ):
            names = [node.name for node in before.nodes[at : at + READ]]
            rows = await self._history.node_runs(source.id, names, ("s", "o", "n", "ok", "fr"))
            for name, (s, o, n, ok, fr) in zip(names, rows, strict=True):
                if s is not None:
                    was[name] = Was(
                        NodeStatus(s.decode()), int(o or 0), int(n or 0), int(ok or 0), int(fr or 0)
                    )
        if redoes(ask):
            for node in before.nodes:
                if node.map is not None and node.tolerate and node.name in was:
                    records, partly = await self._failed_records(source.id, node.name, was[node.name].begun)
                    was[node.name] = replace(was[node.name], records=records, partly=partly)
        return await asyncio.to_thread(plan, graph, was, ask, changed), was

    async def _failed_records(self, source: str, name: str, begun: int) -> tuple[int, int]:
        """(failed records of the items of a map that succeeded, how many such items there are)."""
        home, found = await self._history.home(source, name), list[int]()
        for at in range(0, begun, READ):
            refs = [f"{name}:{index}" for index in range(at, min(at + READ, begun))]
            rows = await self._history.node_runs(home, refs, ("s", "fr"))
            found += [int(fr) for s, fr in rows if s == b"succeeded" and fr not in (None, b"0")]
        return sum(found), len(found)

    async def take(self, trigger: QueuedTrigger, graph: Graph) -> int:
        """Copy what the run of this trigger keeps; how many nodes that are, 0 where it is made from no other run.

        Raises NotFound, RunNotFinished, InvalidInput where it cannot be made any more.
        """
        up = trigger.record.get("up", {})
        if "of" not in up:
            return 0
        ask = Ask.decode(up)
        if not await self._retention.pin(ask.of, trigger.run):
            raise NotFound(f"Run '{ask.of}', which it refers to, is not kept any more.")
        source = await self.source(ask.of)
        found, _ = await self.plan(source, graph, ask)
        copying = _Copying(self._batcher, self._keys, self._retention, trigger)
        async for ref, record in self._kept(source.id, trigger.run, graph, ask, found):
            if not await copying.add(ref, record):
                break
        await copying.flush()
        return found.kept

    async def _kept(
        self, source: str, run: str, graph: Graph, ask: Ask, found: Plan
    ) -> AsyncIterator[tuple[str, Record]]:
        """Every node run that is to be there, with its fields."""
        at = ask.at if ask.metadata is not None else None
        names = [
            node.name
            for node, verdict in zip(graph.nodes, found.verdicts, strict=True)
            if verdict.again is None
        ]
        if at is not None:
            yield at, _given(ask.metadata or b"null", run)
        async for ref, record in self._read(source, [name for name in names if name != at]):
            yield ref, record
        async for ref, record in self._read(
            source, [name for name in found.records if name not in found.items]
        ):
            yield ref, {b"rd": record[b"kr"]}
        for name, begun in found.items.items():
            yield name, {b"kn": b"%d" % begun}
            refs, home = [f"{name}:{index}" for index in range(begun)], await self._history.home(source, name)
            async for ref, record in self._read(home, refs):
                if record.get(b"s") != NodeStatus.SUCCEEDED.encode():
                    continue
                if not redoes(ask) or record.get(b"fr", b"0") == b"0":
                    yield ref, record
                elif name in found.records:
                    yield ref, {b"rd": record[b"kr"]}

    async def _read(self, source: str, refs: list[str]) -> AsyncIterator[tuple[str, Record]]:
        for at in range(0, len(refs), PART):
            part = refs[at : at + PART]
            for ref, row in zip(part, await self._history.records(source, part), strict=True):
                if row:
                    kept = {name: value for name, value in row.items() if name not in _OWN}
                    yield ref, {**kept, b"kr": row.get(b"kr", source.encode())}


def _given(metadata: bytes, run: str) -> Record:
    """A node run that was given its metadata: it ended when its run was asked for."""
    at = b"%d" % made_at(run)
    return {b"s": NodeStatus.SUCCEEDED.encode(), b"m": metadata, b"y": at, b"z": at, b"kr": run.encode()}


class _Copying:
    """Node runs on their way to a run that is not there yet."""

    def __init__(self, batcher: Batcher, keys: Keys, retention: Retention, trigger: QueuedTrigger) -> None:
        self._batcher = batcher
        self._keys = keys
        self._retention = retention
        self._trigger = trigger
        self._names: list[str] = []
        self._args: list[Arg] = []
        self._bytes = 0
        self._pinned = {trigger.run}

    async def add(self, ref: str, record: Record) -> bool:
        """False where nothing more is to be written: the run is there."""
        await self._pin(record.get(b"kr", record.get(b"rd", b"")).decode())
        self._names.append(self._keys.node(self._trigger.run, ref))
        values: list[Arg] = [each for pair in record.items() for each in pair]
        self._args += [len(values), *values]
        self._bytes += sum(len(value) for value in record.values())
        return (len(self._names) < PART and self._bytes < PART_BYTES) or await self.flush()

    async def _pin(self, origin: str) -> None:
        if origin and origin not in self._pinned:
            self._pinned.add(origin)
            await self._retention.pin(origin, self._trigger.run)

    async def flush(self) -> bool:
        if not self._names:
            return True
        keys, run = self._keys, self._trigger.run
        names = [keys.receipt(self._trigger.receipt), keys.run(run), keys.finished, *self._names]
        due = made_at(run) + LOOK_MS
        args = [run, due, *self._args]
        self._names, self._args, self._bytes = [], [], 0
        return await self._batcher.script(TAKE_OVER, names, args, run) == 1
