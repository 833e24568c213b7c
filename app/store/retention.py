"""Finished runs on their way out: due, packed, pinned, removed. Every call may be repeated, and any worker may go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.graph import Graph
from app.core.states import NODE_LIVE, RUN_TERMINAL, RunStatus
from app.store.cached import CLOSED, PIN
from app.store.client import Batcher, Script, pairs
from app.store.history import History
from app.store.ids import made_at, receipt_of
from app.store.keys import Keys
from app.store.packed import MOST_BYTES, MOST_NODES, pack

PACK = Script("pack")
REMOVE = Script("remove")
REMOVE_PART = Script("remove_part")
CLOSE = Script("close")
UNPIN = Script("unpin")

PART = 500
"""Node runs whose keys one script removes."""
PINS = 200
"""Pins that are looked at at a time."""
PINNED_MS = 60_000
"""How long after its id was made a run may still get the trigger that its pin was made for."""
TOLD_MS = 24 * 3600 * 1000
"""How long a machine that was away can still learn that a run is gone, to remove its logs."""


@dataclass(slots=True, frozen=True)
class Finished:
    """A run that is due: what of its record says whether it may be packed or removed."""

    id: str
    status: str
    workflow: str
    version: int
    ended: int
    revision: int
    nodes: int
    nodes_ended: int
    moving: bool
    """It has signals that are not decided yet."""
    packed: bool

    @property
    def over(self) -> bool:
        return self.status in RUN_TERMINAL and not self.moving


@dataclass(slots=True, frozen=True)
class Removal:
    """A large run that is being removed, and the place to go on from."""

    workflow: str
    version: int
    place: str


class Retention:
    def __init__(self, batcher: Batcher, keys: Keys, history: History) -> None:
        self._batcher = batcher
        self._keys = keys
        self._history = history

    # what is due --------------------------------------------------------------------------------------------------

    async def due(self, now: int, limit: int) -> list[str]:
        """Finished runs whose time has come, the longest due first."""
        rows = await self._batcher.call(
            "ZRANGE", self._keys.finished, "-inf", now, "BYSCORE", "LIMIT", 0, limit
        )
        return [row.decode() for row in rows]

    async def postpone(self, run: str, until: int) -> None:
        """It is due then; nothing where it is gone meanwhile."""
        await self._batcher.call("ZADD", self._keys.finished, "XX", until, run)

    async def forget(self, run: str) -> None:
        """There is no such run."""
        await self._batcher.call("ZREM", self._keys.finished, run)

    async def adopt(self, place: int, count: int, due: int) -> int:
        """Look at `count` runs from a place in the index on, for finished ones that nobody keeps the time of.

        Such come from a release that did not. The place to go on from; 0 at the end.
        """
        rows: list[bytes] = await self._batcher.call("ZRANGE", self._keys.runs, place, place + count - 1)
        runs = [row.decode() for row in rows]
        if runs:
            known = await self._batcher.call("ZMSCORE", self._keys.finished, *runs)
            states = await self._history.runs(runs, ["s"])
            terminal = {status.encode() for status in RUN_TERMINAL}
            lost = [run for run, score, (status,) in zip(runs, known, states, strict=True)
                    if score is None and status in terminal]  # fmt: skip
            if lost:
                members = [value for run in lost for value in (due, run)]
                await self._batcher.call("ZADD", self._keys.finished, "NX", *members)
        return place + len(runs) if len(runs) == count else 0

    async def finished(self, run: str) -> Finished | None:
        """The record of a run; None where there is none."""
        call = self._batcher.call("EXISTS", self._keys.packed(run))
        fields = ("s", "w", "v", "z", "k", "n", "d", "ac", "c")
        s, w, v, z, k, n, d, ac, c = await self._history.run(run, fields)
        packed = await call == 1
        if s is None or w is None:
            return None
        return Finished(run, RunStatus(s.decode()), w.decode(), int(v or 0), int(z or c or 0), int(k or 0), int(n or 0),
                        int(d or 0), ac is not None, packed)  # fmt: skip

    async def is_live(self, run: Finished, graph: Graph) -> bool:
        """Whether an attempt may still hold a slot: only a run that the engine ended by force can have one."""
        if run.nodes_ended >= run.nodes:
            return False
        place = "0"
        while place:
            refs, place = await self._refs(run.id, graph, place, PART)
            live = {status.encode() for status in NODE_LIVE}
            if any(status in live for (status,) in await self._history.node_runs(run.id, refs, ["s"])):
                return True
        return False

    # packing ------------------------------------------------------------------------------------------------------

    async def pack(self, run: Finished, graph: Graph, due: int) -> bool:
        """Pack a small run; it is due again then. False where it is large, or moved meanwhile: nothing was changed."""
        refs = await self._small(run.id, graph)
        if refs is None:
            return False
        keys = self._keys
        record = self._batcher.call("HGETALL", keys.run(run.id))
        nodes = [self._batcher.call("HGETALL", keys.node(run.id, ref)) for ref in refs]
        rows = await self._batcher.call("XRANGE", keys.events(run.id), "-", "+")
        found = {ref: dict(pairs(await node)) for ref, node in zip(refs, nodes, strict=True)}
        found = {ref: node for ref, node in found.items() if node}
        value = pack(dict(pairs(await record)), found, [(row[0], row[1][1]) for row in rows])
        if value is None:
            return False
        names = [keys.run(run.id), keys.inbox(run.id), keys.packed(run.id), keys.finished, keys.events(run.id),
                 keys.joins(run.id), *(keys.node(run.id, ref) for ref in found),
                 *(key for node in graph.nodes if node.map is not None for key in keys.of_map(run.id, node.name))]  # fmt: skip
        return await self._batcher.script(PACK, names, [run.id, run.revision, value, due]) == 1

    async def _small(self, run: str, graph: Graph) -> list[str] | None:
        """All refs of a run that may be small enough; None for one that is not, or has failed records."""
        if len(graph.nodes) > MOST_NODES:
            return None
        if int(await self._batcher.call("MEMORY", "USAGE", self._keys.events(run)) or 0) > 2 * MOST_BYTES:
            return None
        refs, place = await self._refs(run, graph, "0", MOST_NODES + 1)
        if place or len(refs) > MOST_NODES:
            return None
        records = [self._batcher.call("EXISTS", self._keys.records(run, ref)) for ref in refs]
        return None if any([await call for call in records]) else refs

    # pins ---------------------------------------------------------------------------------------------------------

    async def pin(self, run: str, by: str) -> bool:
        """Keep `run` while `by`, which refers to it, is kept. False where `run` is not there any more, or is being removed.

        Called before `by` exists: a pin of a run that never came to be ends by itself.
        """
        names = [self._keys.run(run), self._keys.packed(run), self._keys.pins(run)]
        return await self._batcher.script(PIN, names, [by, CLOSED]) == 1

    async def pins(self, run: str) -> tuple[int, bool]:
        """How many pins a run has, and whether one of them holds it: the run that made it is there, its trigger waits, or
        it was made a moment ago.

        The others are taken out, so one that is made again always counts. A few taken by chance mostly settle it; where
        most of those were dead all are gone through, page by page, so that there are never more of the dead than of the
        living for long.
        """
        pins = self._keys.pins(run)
        some = await self._batcher.call("SRANDMEMBER", pins, PINS)
        held = await self._held(run, some)
        if 2 * held > len(some):
            return int(await self._batcher.call("SCARD", pins)), True
        place, closed, held = b"0", False, 0
        while True:
            place, found = await self._batcher.call("SSCAN", pins, place, "COUNT", PINS)
            closed = closed or CLOSED.encode() in found
            held += await self._held(run, found)
            if place == b"0":
                break
        if not held:
            return int(closed), False
        return int(await self._batcher.call("SCARD", pins)), True

    async def _held(self, run: str, pins: Sequence[bytes]) -> int:
        """How many of these pins hold the run; those that hold it no more are taken out."""
        keys, held = self._keys, 0
        makers = [raw.decode() for raw in pins if raw != CLOSED.encode()]
        for at in range(0, len(makers), PINS):
            part = makers[at : at + PINS]
            names = [
                key for by in part for key in (keys.run(by), keys.packed(by), keys.receipt(receipt_of(by)))
            ]
            args = [value for by in part for value in (by, made_at(by) + PINNED_MS)]
            held += await self._batcher.script(UNPIN, [keys.pins(run), *names], args)
        return held

    async def close(self, run: str, pins: int) -> int | None:
        """Take no further pins: its data is about to be removed. How many members its pins have now; None where another run
        has pinned it since it had `pins`."""
        reply = await self._batcher.script(CLOSE, [self._keys.pins(run)], [pins, CLOSED])
        return None if reply < 0 else reply

    async def waits(self, run: str) -> bool:
        """Whether its trigger is yet to become a run."""
        return await self._batcher.call("HGET", self._keys.receipt(receipt_of(run)), "s") == b"queued"

    async def leftover(self, run: str) -> Removal | None:
        """What was taken over for a run that never came to be, and never will; it is being removed from now on."""
        s, w, v = await self._batcher.call("HMGET", self._keys.receipt(receipt_of(run)), "s", "w", "v")
        if w is None or v is None or s not in (b"dead", b"rejected"):
            return None
        await self._batcher.call("HSET", self._keys.removal(run), "w", w, "v", v, "c", "0")
        return Removal(w.decode(), int(v), "0")

    # removing -----------------------------------------------------------------------------------------------------

    async def removal(self, run: str) -> Removal | None:
        """How far the removal of a large run is; None where none has begun."""
        w, v, c = await self._batcher.call("HMGET", self._keys.removal(run), "w", "v", "c")
        return None if w is None else Removal(w.decode(), int(v), c.decode())

    async def begin_removal(self, run: Finished, now: int, pins: int) -> bool:
        """From now on the run is not found; a packed one is gone. False where it was pinned meanwhile."""
        keys = self._keys
        names = [keys.finished, keys.gone, keys.runs, keys.workflow_runs(run.workflow), keys.removal(run.id),
                 keys.pins(run.id), *keys.of_run(run.id)]  # fmt: skip
        args = [run.id, now, pins, int(run.packed), run.workflow, run.version]
        return await self._batcher.script(REMOVE, names, args) == 1

    async def remove_part(self, run: str, removal: Removal, graph: Graph, now: int) -> str:
        """Remove the next keys; the place to go on from, "" when the run is gone."""
        refs, place = await self._refs(run, graph, removal.place, PART)
        keys = [key for ref in refs for key in self._keys.of_node(run, ref)]
        names = [self._keys.finished, self._keys.gone, self._keys.removal(run), *keys]
        await self._batcher.script(REMOVE_PART, names, [run, now, place])
        return place

    async def _refs(self, run: str, graph: Graph, place: str, most: int) -> tuple[list[str], str]:
        """At most `most` refs of node runs that may have keys, from a place on; and the next place, "" at the end.

        A place is "node" or "node.item", by their numbers. A map comes after its items, since it knows how many there are.
        """
        head, _, tail = place.partition(".")
        position, item = int(head), int(tail or 0)
        refs: list[str] = []
        while position < len(graph.nodes):
            node = graph.nodes[position]
            if node.map is not None:
                begun, taken = (await self._history.node_runs(run, [node.name], ["o", "kn"]))[0]
                started = max(int(begun or 0), int(taken or 0))
                until = min(started, item + most - len(refs))
                refs += [f"{node.name}:{index}" for index in range(item, until)]
                if until < started:
                    return refs, f"{position}.{until}"
                item = until
            if len(refs) >= most:
                return refs, f"{position}.{item}" if item else str(position)
            refs.append(node.name)
            position, item = position + 1, 0
        return refs, ""

    # logs on each machine -----------------------------------------------------------------------------------------

    async def gone(self, since: int, skip: int, limit: int) -> list[str]:
        """Runs removed from a time on, in order, but for the first `skip`."""
        rows = await self._batcher.call(
            "ZRANGE", self._keys.gone, since, "+inf", "BYSCORE", "LIMIT", skip, limit
        )
        return [run.decode() for run in rows]

    async def forget_gone(self, now: int) -> None:
        await self._batcher.call("ZREMRANGEBYSCORE", self._keys.gone, "-inf", now - TOLD_MS)
