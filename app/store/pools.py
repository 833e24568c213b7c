"""Pools as they are seen and set: their slots, who holds them, who waits (M15, B3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from app.core.graph import Graph
from app.core.pools import GLOBAL, WORKFLOW, Lane, Waiting
from app.core.round import iso
from app.core.states import NODE_LIVE, NodeStatus
from app.core.tasks import Task, split_ref
from app.core.view import DEFAULT_PRIORITY
from app.errors import NotFound
from app.store.admission import Admission, reservation
from app.store.client import Batcher, Script, pairs
from app.store.keys import Keys

PUT_POOL = Script("put_pool")
RECONCILE = Script("reconcile")

BEYOND = b"+"
"""The field of a pool's holders that counts the slots beyond one each."""
MAX_HOLDERS = 1000
"""Holders of one pool that are listed; `used` counts all."""
FEW = 5
"""Holders that are named to one who waits."""


class Holder(NamedTuple):
    """Who holds slots of a pool."""

    task: Task
    since: int
    """ms since the epoch."""
    slots: int
    workflow: str
    """"" where an older release admitted it."""

    @classmethod
    def parse(cls, task: bytes, value: bytes) -> Holder:
        since, *more = value.decode().split(" ")
        slots, workflow = more[:2] if len(more) >= 2 else ("1", "")
        return cls(Task.parse(task), int(since), int(slots), workflow)

    def shown(self) -> dict[str, Any]:
        """{run, node, item?, attempt, slots, since}."""
        node, item = split_ref(self.task.ref)
        record: dict[str, Any] = {"run": self.task.run, "node": node, "attempt": self.task.attempt, "slots": self.slots,
                                  "since": iso(self.since)}  # fmt: skip
        return record if item is None else record | {"item": item}


class Pools:
    def __init__(
        self,
        batcher: Batcher,
        keys: Keys,
        admission: Admission,
        graph: Callable[[str, int], Awaitable[Graph]],
    ) -> None:
        self._batcher = batcher
        self._keys = keys
        self._admission = admission
        self._graph = graph

    # slots ------------------------------------------------------------------------------------------------------

    async def slots(self) -> dict[str, int]:
        """Pool -> slots, of every pool that has a limit."""
        found = pairs(await self._batcher.call("HGETALL", self._keys.pools))
        limit = self._admission.default(GLOBAL)
        assert limit is not None
        return {GLOBAL: limit} | {name.decode(): int(slots) for name, slots in found}

    async def put(self, name: str, slots: int) -> bool:
        """Set the slots of a pool, from now on; what holds more than that drains. True when the pool is new."""
        kind, _, value = name.partition(":")
        keys = [self._keys.pools, self._keys.pool(GLOBAL), self._keys.pool(name)]
        args = [name, slots, kind if value else "", value]
        return await self._batcher.script(PUT_POOL, keys, args) == 0

    async def declare(self, names: Iterable[str]) -> None:
        """Make the named pools that a workflow uses and nobody has set, with the slots of the setting."""
        for name in names:
            await self._batcher.call("HSETNX", self._keys.pools, name, self._admission.default(name) or 0)

    async def used(self) -> dict[str, int]:
        """Pool -> slots that are held."""
        return await self._admission.used(list(await self.slots()))

    # holders ----------------------------------------------------------------------------------------------------

    async def holders(self, pool: str = GLOBAL) -> list[Holder]:
        """Who holds slots of a pool."""
        rows = pairs(await self._batcher.call("HGETALL", self._keys.pool(pool)))
        return [Holder.parse(task, value) for task, value in rows if task != BEYOND]

    async def all_holders(self) -> dict[Task, list[str]]:
        """Every task that holds slots, and the pools in which it does."""
        found: dict[Task, list[str]] = {}
        for pool in await self.slots():
            for holder in await self.holders(pool):
                found.setdefault(holder.task, []).append(pool)
        return found

    async def reconcile(self, task: Task, pools: Iterable[str]) -> bool:
        """Take a task whose attempt is over out of these pools. True when it was still in one."""
        node, launches = self._keys.node(task.run, task.ref), self._keys.launches
        args = [task.encode(), task.attempt, task.launch, *NODE_LIVE]
        calls = [
            self._batcher.script(RECONCILE, [self._keys.pool(pool), node, launches], args) for pool in pools
        ]
        return 1 in await asyncio.gather(*calls)

    # what is shown ----------------------------------------------------------------------------------------------

    async def list(self, prefix: str = "") -> list[dict[str, Any]]:
        """[{name, slots, used, holders: [{run, node, item?, attempt, slots, since}], waiting}], by name.

        `used` and `waiting` count everything; holders are those of workflows whose names begin with `prefix`, the oldest first.
        """
        slots, waiting = await asyncio.gather(self.slots(), self.waiting())
        used = await self._admission.used(list(slots))
        return [
            await self._record(name, slots[name], used[name], waiting.get(name, 0), prefix)
            for name in sorted(slots)
            if not name.startswith(WORKFLOW) or name.removeprefix(WORKFLOW).startswith(prefix)
        ]

    async def get(self, name: str, prefix: str = "") -> dict[str, Any]:
        """One pool, as in the list. Raises NotFound."""
        slots, waiting = await asyncio.gather(self.slots(), self.waiting())
        if name not in slots:
            raise NotFound(f"There is no pool '{name}'.")
        used = await self._admission.used([name])
        return await self._record(name, slots[name], used[name], waiting.get(name, 0), prefix)

    async def _record(self, name: str, slots: int, used: int, waiting: int, prefix: str) -> dict[str, Any]:
        holders = await self._shown(name, prefix)
        return {"name": name, "slots": slots, "used": used, "holders": holders, "waiting": waiting}

    async def _shown(self, pool: str, prefix: str) -> list[dict[str, Any]]:
        holders = await self.holders(pool)
        if prefix:
            holders = [each for each in holders if each.workflow and each.workflow.startswith(prefix)]
        return [holder.shown() for holder in sorted(holders, key=lambda each: each.since)[:MAX_HOLDERS]]

    async def waiting(self) -> dict[str, int]:
        """Pool -> node runs that wait and need it."""
        lanes = [Lane.parse(raw) for raw in await self._batcher.call("HKEYS", self._keys.filed)]
        counts = await asyncio.gather(*(self._count(lane) for lane in lanes))
        found: dict[str, int] = {}
        for lane, count in zip(lanes, counts, strict=True):
            for pool, _ in lane.pools:
                found[pool] = found.get(pool, 0) + count
        return found

    async def _count(self, lane: Lane, before: str | None = None) -> int:
        """How many of a lane wait, all or those before a member of the queue."""
        text = lane.encode()
        end = f"({text}}}" if before is None else f"({before}"
        return int(await self._batcher.call("ZLEXCOUNT", self._keys.queue, f"[{text}|", end))

    async def place(self, run: str, ref: str, prefix: str = "") -> dict[str, Any] | None:
        """Why a ready node run waits, None when it does not wait for slots.

        {since, priority, ahead, lacks: [{pool, slots, used, wants, reserved, holders}]}: `ahead` are those of the same
        workflow, priority and pools that go first (other workflows take turns with them), `lacks` the pools without room,
        `reserved` says that freed slots are kept for another who waits longer, holders are the few oldest that the prefix
        may see.
        """
        waiting = await self._waiting(run, ref)
        if waiting is None:
            return None
        slots = await self.slots()
        needs = [(pool, wants) for pool, wants in waiting.lane.pools if pool in slots]
        used = await self._admission.used([pool for pool, _ in needs])
        marks = await self._batcher.call("HMGET", self._keys.waits, *(pool for pool, _ in needs))
        lacks: list[dict[str, Any]] = []
        for (pool, wants), mark in zip(needs, marks, strict=True):
            aside, owner = reservation(mark or b"")
            kept = aside if owner != waiting.encode() else 0
            if slots[pool] - used[pool] - kept < wants:
                lacks.append({"pool": pool, "slots": slots[pool], "used": used[pool], "wants": wants, "reserved": kept > 0,
                              "holders": (await self._shown(pool, prefix))[:FEW]})  # fmt: skip
        return {"since": waiting.since, "priority": waiting.lane.priority,
                "ahead": await self._count(waiting.lane, waiting.encode()), "lacks": lacks}  # fmt: skip

    async def _waiting(self, run: str, ref: str) -> Waiting | None:
        (w, v, y), (s, a, l, since) = await asyncio.gather(  # noqa: E741
            self._batcher.call("HMGET", self._keys.run(run), "w", "v", "y"),
            self._batcher.call("HMGET", self._keys.node(run, ref), "s", "a", "l", "y"),
        )
        if w is None or s is None or NodeStatus(s.decode()) is not NodeStatus.READY:
            return None
        graph = await self._graph(w.decode(), int(v))
        lane = graph.lane(ref, int(y or DEFAULT_PRIORITY))
        return Waiting(lane, int(since or 0), graph.version, Task(run, ref, int(a or 0), int(l or 0)))
