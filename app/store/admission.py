"""Admission: node runs take the slots of all their pools at once, or wait in the queue until it is their turn.

What a commit has just made ready asks with `fresh`: it starts at once where nobody waits for any of its pools. Everything else
is chosen from the heads of the queue, by app.core.pools.choose; the script checks each choice again as it is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from app.core.graph import Graph
from app.core.pools import (
    GLOBAL,
    LOOKED_AT,
    PATIENCE_MS,
    STEP_MS,
    TURN,
    TYPE,
    WORKFLOW,
    Lane,
    Line,
    Room,
    Waiting,
    choose,
)  # fmt: skip
from app.core.round import iso, transition
from app.core.states import NodeStatus, RunStatus, check_node
from app.errors import NotFound
from app.store.client import Arg, Batcher, Script, pairs
from app.store.keys import Keys

ADMIT = Script("admit")

check_node(NodeStatus.READY, NodeStatus.STARTING)  # the transition of the admit script


Fits = Callable[[Waiting, Graph], bool]


class Asking(NamedTuple):
    """A node run that asks for its slots."""

    waiting: Waiting
    start_ms: int
    """Its start timeout."""


@dataclass(slots=True)
class Heads:
    """What a look at the queue found."""

    taken: list[Waiting] = field(default_factory=list)
    """Whose turn it is, in order; there is room for them in their pools."""
    lanes: list[Lane] = field(default_factory=list)
    """To be filed anew: their heads lack another slot, have aged, or fell behind with their workflow's share."""
    more: bool = False
    """More may be had at once."""
    waits: frozenset[str] = frozenset()
    """Pools for which somebody waits."""
    now: int = 0
    """ms since the epoch by the store's clock, when it was looked at."""
    graphs: Mapping[tuple[str, int], Graph] = field(default_factory=dict)
    """By workflow and version: those of all that is taken."""


class Admission:
    def __init__(
        self,
        batcher: Batcher,
        keys: Keys,
        graph: Callable[[str, int], Awaitable[Graph]],
        *,
        global_slots: int,
        pool_slots: int,
        lease_ms: int,
    ) -> None:
        self._batcher = batcher
        self._keys = keys
        self._graph = graph
        self._global_slots = global_slots
        self._pool_slots = pool_slots
        self._lease_ms = lease_ms

    def default(self, pool: str) -> int | None:
        """The slots of a pool that nobody has set; None: no limit."""
        if pool.startswith((TYPE, WORKFLOW)):
            return None
        return self._global_slots if pool == GLOBAL else self._pool_slots

    async def admit(
        self,
        asking: Sequence[Asking],
        now: int,
        *,
        lanes: Iterable[Lane] = (),
        fresh: bool = False,
    ) -> list[int]:
        """Ask for slots. 1 admitted, 0 must wait, -1 not ready any more.

        A `fresh` one waits where others wait; the rest was chosen by `heads`. `lanes` are filed in the queue: of fresh ones
        those that have more waiting than asks. `now` is only told in the events.
        """
        names, args = self.request(asking, now, lanes=lanes, fresh=fresh)
        return await self._batcher.script(ADMIT, names, args)

    def request(
        self, asking: Sequence[Asking], now: int, *, lanes: Iterable[Lane] = (), fresh: bool = True
    ) -> tuple[list[str], list[Arg]]:
        """The keys and arguments of an admission (lib/admission.lua): of a call of its own, or as a part of a commit."""
        keys = self._keys
        order = dict.fromkeys(lanes, 0)
        more = set(order)
        order |= {each.waiting.lane: 0 for each in asking}
        lane_index = {lane: index for index, lane in enumerate(order, 1)}
        pool_names = list(dict.fromkeys(pool for lane in order for pool, _ in lane.pools))
        pool_index = {name: index for index, name in enumerate(pool_names, 1)}
        run_index = {
            run: index for index, run in enumerate(dict.fromkeys(each.waiting.task.run for each in asking), 1)
        }
        names = [
            keys.queue,
            keys.waits,
            keys.filed,
            keys.aging,
            keys.shares,
            keys.pools,
            keys.timers,
            keys.launches,
        ]
        args: list[Arg] = [
            "new" if fresh else "turn",
            self._lease_ms,
            RunStatus.RUNNING,
            STEP_MS,
            PATIENCE_MS,
            TURN,
        ]
        args.append(len(pool_names))
        for name in pool_names:
            names += (keys.pool(name), keys.turns(name))
            limit = self.default(name)
            args += (name, "" if limit is None else limit)
        args.append(len(order))
        for lane in order:
            needs = lane.pools
            args += (lane.encode(), lane.workflow, lane.type, lane.priority, int(lane in more), len(needs))
            for pool, slots in needs:
                args += (pool_index[pool], slots)
        args.append(len(run_index))
        for run in run_index:
            names += (keys.run(run), keys.events(run))
        args.append(len(asking))
        at = iso(now)
        for waiting, start_ms in asking:
            task = waiting.task
            names.append(keys.node(task.run, task.ref))
            event = orjson.dumps(
                transition(task.ref, NodeStatus.READY, NodeStatus.STARTING, task.attempt, at)
            )
            args += (lane_index[waiting.lane], run_index[task.run], waiting.encode(), task.encode(), task.timer,
                     task.attempt, task.launch, start_ms, event)  # fmt: skip
        return names, args

    async def file(self, lanes: Sequence[Lane]) -> None:
        """Bring the places of lanes in the queue up to date."""
        if lanes:
            await self.admit([], 0, lanes=lanes)

    async def heads(self, places: int, fits: Fits = lambda waiting, graph: True) -> Heads:
        """Whose turn it is, for so many places at most, of those that fit into the worker that asks."""
        call, keys = self._batcher.call, self._keys
        marks, set_slots, aging, (seconds, micros) = await asyncio.gather(
            call("HGETALL", keys.waits), call("HGETALL", keys.pools),
            call("ZRANGE", keys.aging, 0, LOOKED_AT - 1, "WITHSCORES"), call("TIME"),
        )  # fmt: skip
        if not marks:
            return Heads()
        now = int(seconds) * 1000 + int(micros) // 1000
        waits = {pool.decode(): reservation(mark) for pool, mark in pairs(marks)}
        slots = {pool.decode(): int(count) for pool, count in pairs(set_slots)}
        aged = [Lane.parse(lane) for lane, due in pairs(aging) if float(due) <= now]
        room = Room({}, {pool: mark for pool, mark in waits.items() if mark[1]})
        fronts = await self._fronts([*waits], room, slots)
        lines, shares = await self._lines(fronts, room, slots, places)
        graphs = await self._graphs(each for line in lines for each in line.heads)

        def fitting(waiting: Waiting) -> bool:
            graph = graphs.get((waiting.lane.workflow, waiting.version))
            return graph is not None and fits(waiting, graph)

        choice = choose(lines, room, shares, places, now, fitting)
        behind = [line.lane for line in lines if not line.heads or line.tag < shares[line.lane.workflow]]
        moved = [lane for lane, pool in choice.passed if pool != fronts[lane][0]]
        full = len(fronts) == LOOKED_AT
        return Heads(
            choice.taken,
            list(dict.fromkeys([*aged, *behind, *moved])),
            choice.more or bool(aged) or (full and bool(behind or moved)),
            frozenset(waits),
            now,
            graphs,
        )

    async def _graphs(self, heads: Iterable[Waiting]) -> dict[tuple[str, int], Graph]:
        """The graphs of what waits; one that is gone is left out."""
        found: dict[tuple[str, int], Graph] = {}
        for key in {(each.lane.workflow, each.version) for each in heads}:
            with suppress(NotFound):
                found[key] = await self._graph(*key)
        return found

    async def _measure(self, pools: Iterable[str], room: Room, slots: Mapping[str, int]) -> None:
        """Add what these pools have free to the room; a pool without a limit is not added."""
        limits = {pool: slots.get(pool, self.default(pool)) for pool in pools if pool not in room.free}
        limited = {pool: limit for pool, limit in limits.items() if limit is not None}
        used = await self.used(list(limited))
        room.free |= {pool: limit - used[pool] for pool, limit in limited.items()}

    async def _fronts(
        self, pools: Sequence[str], room: Room, slots: Mapping[str, int]
    ) -> dict[Lane, tuple[str, int]]:
        """The lanes at the front of these pools' queues, as far as the pools have room: lane -> (pool, virtual time)."""
        calls = [
            self._batcher.call("ZRANGE", self._keys.turns(pool), 0, LOOKED_AT - 1, "WITHSCORES")
            for pool in pools
        ]
        await self._measure([GLOBAL, *pools], room, slots)
        rows = await asyncio.gather(*calls)
        if room.free[GLOBAL] <= 0:
            return {}
        found = [
            (int(float(turn)), pool, Lane.parse(lane))
            for pool, row in zip(pools, rows, strict=True)
            if room.free.get(pool, 1) > 0
            for lane, turn in pairs(row)
        ]
        found.sort()
        return {lane: (pool, turn % TURN) for turn, pool, lane in found[:LOOKED_AT]}

    async def _lines(
        self, fronts: Mapping[Lane, tuple[str, int]], room: Room, slots: Mapping[str, int], places: int
    ) -> tuple[list[Line], dict[str, int]]:
        """The first of each of these lanes, and the virtual times of their workflows."""
        if not fronts:
            return [], {}
        each = max(2, 2 * places // len(fronts))
        workflows = list(dict.fromkeys(lane.workflow for lane in fronts))
        heads = asyncio.gather(*(self._front(lane, each) for lane in fronts))
        times = self._batcher.call("HMGET", self._keys.shares, *workflows)
        filed = self._batcher.call("HMGET", self._keys.filed, *(lane.encode() for lane in fronts))
        await self._measure(dict.fromkeys(pool for lane in fronts for pool, _ in lane.pools), room, slots)
        lines = [
            Line(lane, tag, int((place or b" 0").split(b" ")[1]), front, len(front) < each)
            for (lane, (_, tag)), place, front in zip(fronts.items(), await filed, await heads, strict=True)
        ]
        shares = {name: int(time or 0) for name, time in zip(workflows, await times, strict=True)}
        return lines, shares

    async def _front(self, lane: Lane, count: int) -> list[Waiting]:
        text = lane.encode()
        raw = await self._batcher.call(
            "ZRANGE", self._keys.queue, f"[{text}|", f"({text}}}", "BYLEX", "LIMIT", 0, count
        )
        own = len(text.encode()) + 1
        return [Waiting.within(lane, member[own:]) for member in raw]

    async def queued(self, count: int = 1000) -> list[Waiting]:
        """What waits, lane by lane."""
        raw = await self._batcher.call("ZRANGE", self._keys.queue, 0, count - 1)
        return [Waiting.parse(member) for member in raw]

    async def used(self, pools: Sequence[str]) -> dict[str, int]:
        """Pool -> slots that are held."""
        calls: list[Any] = []
        for pool in pools:
            calls += [
                self._batcher.call("HLEN", self._keys.pool(pool)),
                self._batcher.call("HGET", self._keys.pool(pool), "+"),
            ]
        replies = await asyncio.gather(*calls)
        return {
            pool: int(count) if beyond is None else int(count) - 1 + int(beyond)
            for pool, count, beyond in zip(pools, replies[::2], replies[1::2], strict=True)
        }


def reservation(mark: bytes) -> tuple[int, str]:
    """(slots, member) of a value of `waits`; (0, "") where nothing is reserved."""
    slots, _, owner = mark.decode().partition(" ")
    return (int(slots), owner) if owner else (0, "")
