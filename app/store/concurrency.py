"""Places of concurrency keys: who runs, who waits, and letting the next one begin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import orjson

from app.core.concurrency import ASKED, NO_LIMIT, PRIORITIES, RANK, Limit, OnLimit, arrival, rank
from app.core.signals import Signal, SignalKind, encode
from app.core.states import RUN_TERMINAL, RunStatus
from app.store.client import Batcher, Script, pairs
from app.store.control import CANCEL_SIGNAL, TERMINAL, control_event
from app.store.engine import DUE
from app.store.ids import receipt_of
from app.store.keys import Keys

PROMOTE = Script("promote")
UNLIST = Script("unlist")
RESUME = Script("resume_workflow")
IN_THE_WAY = Script("in_the_way")
DISPLACE = Script("displace")
LOOKED = Script("looked")

LOOK_MS = 5_000
"""How often a workflow with waiting runs is looked at, whatever else happens."""
MOST_AT_ONCE = 500
"""Runs that one look at a key lets begin, or asks to end."""
PAGE = 100
"""Keys with waiting runs that one look at a workflow goes through, more or less."""

_BEGIN = encode(Signal(SignalKind.BEGIN))


class ConcurrencyKeys:
    """A key of a workflow is named by its digest; runs that only their paused workflow holds back are under NO_LIMIT."""

    def __init__(self, batcher: Batcher, keys: Keys) -> None:
        self._batcher = batcher
        self._keys = keys
        self._displacing: dict[tuple[str, str], asyncio.Task[int]] = {}
        self._coming: dict[tuple[str, str], asyncio.Task[int]] = {}
        self._freeing: dict[tuple[str, str], asyncio.Task[None]] = {}

    # a workflow is paused ----------------------------------------------------------------------------------------

    async def pause(self, workflow: str) -> None:
        """No further run of it begins; triggers are accepted and wait. Those that go on do."""
        await self._batcher.call(
            "HSETNX", self._keys.workflow(workflow), "paused", time.time_ns() // 1_000_000
        )

    async def resume(self, workflow: str) -> None:
        """What waited begins, in its order, as far as there are places; its schedules go on from now."""
        names = [self._keys.workflow(workflow), self._keys.limited, self._keys.schedules]
        await self._batcher.script(RESUME, names, [workflow])

    # places ------------------------------------------------------------------------------------------------------

    async def running(self, workflow: str, digest: str) -> list[tuple[str, int]]:
        """Who has a place of a key, and when its trigger came (ms), the oldest first."""
        key = self._keys.concurrency(workflow, digest)
        return _scored(await self._batcher.call("ZRANGE", key, 0, MOST_AT_ONCE - 1, "WITHSCORES"))

    async def waiting(self, workflow: str, digest: str) -> list[tuple[str, int]]:
        """Who waits for a place of a key, and when its trigger came (ms), the next first."""
        key = self._keys.concurrency_queue(workflow, digest)
        return _scored(await self._batcher.call("ZRANGE", key, 0, MOST_AT_ONCE - 1, "WITHSCORES"))

    async def held_above(self, workflow: str, digest: str, up: Mapping[str, Any]) -> str | None:
        """The run above a child run (`up` is the child's) that has a place of a key: it keeps it until the child has ended."""
        if workflow not in up.get("via", ()):
            return None
        place = self._keys.concurrency(workflow, digest)
        while "r" in up:
            run = up["r"]
            held, raw = await asyncio.gather(
                self._batcher.call("ZSCORE", place, run),
                self._batcher.call("HGET", self._keys.run(run), "up"),
            )
            if held is not None:
                return run
            up = orjson.loads(raw) if raw else {}
        return None

    async def promote(self, workflow: str, digest: str) -> int:
        """Let as many begin as there are places for; how many did."""
        keys, count = self._keys, 0
        queue = keys.concurrency_queue(workflow, digest)
        while count < MOST_AT_ONCE:
            head = await self._batcher.call("ZRANGE", queue, 0, 0)
            if not head:
                break
            run = head[0].decode()
            limit = await self._limit(run)
            names = [keys.workflow(workflow), keys.waiting_keys(workflow), keys.concurrency(workflow, digest), queue,
                     keys.run(run), keys.inbox(run), keys.active]  # fmt: skip
            args = [run, _BEGIN, limit.max if limit else 0, digest, RunStatus.QUEUED, RANK]
            reply = await self._batcher.script(PROMOTE, names, args)
            if reply in (b"paused", b"full"):
                break
            count += reply == b"started"
        return count

    async def _limit(self, run: str) -> Limit | None:
        raw = await self._batcher.call("HGET", self._keys.run(run), "cl")
        return Limit.decode(raw) if raw is not None else None

    async def make_room(self, workflow: str, digest: str) -> int:
        """cancel_running: ask for the end of the older runs that are in the way of those that wait; how many they are.

        Each is asked once. Many may come at once, as the triggers of a burst do: those that come while one makes room
        wait for the next, who does it for all of them.
        """
        key = workflow, digest
        task = self._coming.get(key)
        if task is None:
            task = asyncio.create_task(self._next(key, self._displacing.get(key)))
            self._coming[key] = task
        return await asyncio.shield(task)

    async def _next(self, key: tuple[str, str], before: asyncio.Task[int] | None) -> int:
        if before is not None:
            await asyncio.wait([before])
        self._displacing[key] = self._coming.pop(key)
        try:
            return await self._displace(*key)
        finally:
            del self._displacing[key]

    async def _displace(self, workflow: str, digest: str) -> int:
        keys = self._keys
        newest = await self._newest(workflow, digest)
        if newest is None or await self._batcher.call("HEXISTS", keys.workflow(workflow), "paused"):
            return 0
        limit = await self._limit(newest)
        if limit is None or limit.on_limit is not OnLimit.CANCEL_RUNNING:
            return 0
        places = [keys.concurrency(workflow, digest), keys.concurrency_queue(workflow, digest)]
        args = [limit.max, MOST_AT_ONCE, ASKED, PRIORITIES, RANK]
        old = [raw.decode() for raw in await self._batcher.script(IN_THE_WAY, places, args)]
        event = control_event("cancel", time.time_ns() // 1_000_000)
        await asyncio.gather(
            *(
                self._batcher.script(
                    DISPLACE,
                    [keys.run(run), keys.inbox(run), keys.active, keys.events(run), keys.receipt(receipt_of(run)),
                     keys.waiting_keys(workflow), *places],
                    [run, CANCEL_SIGNAL, event, digest, ASKED, *TERMINAL],
                )
                for run in old
            )
        )  # fmt: skip
        return len(old)

    async def _newest(self, workflow: str, digest: str) -> str | None:
        """Of those that wait for a place."""
        queue = self._keys.concurrency_queue(workflow, digest)
        calls = [
            self._batcher.call(
                "ZRANGE", queue, f"({rank(each + 1, 0)}", rank(each, 0), "BYSCORE", "REV", "LIMIT", 0, 1, "WITHSCORES"
            )
            for each in range(1, PRIORITIES + 1)
        ]  # fmt: skip
        rows = [row for call in calls for row in _scored(await call)]
        return max(rows, key=lambda row: row[1])[0] if rows else None

    # the look that makes up for what a dead worker left ------------------------------------------------------------

    async def due(self, most: int) -> list[str]:
        """Workflows with waiting runs whose time to be looked at has come; it is put off for the others."""
        _, _, *rows = await self._batcher.script(DUE, [self._keys.limited], [most])
        names = [(name.decode(), score) for name, score in pairs(rows)]
        later = time.time_ns() // 1_000_000 + LOOK_MS
        for name, _ in names:
            await self._batcher.call("ZADD", self._keys.limited, "XX", later, name)
        return [name for name, _ in names]

    async def look(self, workflow: str) -> int:
        """Take back the places of runs that are over, make room, promote; how many runs began.

        For a page of its keys, from where the last look by any worker ended; where there are more it is due again at once.
        A paused workflow has nothing that could begin: its resume makes it due.
        """
        keys = self._keys
        paused, place = await self._batcher.call("HMGET", keys.workflow(workflow), "paused", "look")
        if paused is not None:
            return 0
        reply = await self._batcher.call("SSCAN", keys.waiting_keys(workflow), place or "0", "COUNT", PAGE)
        count = 0
        for raw in reply[1]:
            count += await self._look_at(workflow, raw.decode())
        names = [keys.limited, keys.waiting_keys(workflow), keys.workflow(workflow)]
        await self._batcher.script(LOOKED, names, [workflow, reply[0]])
        return count

    async def _look_at(self, workflow: str, digest: str) -> int:
        if digest != NO_LIMIT:
            await self.free(workflow, digest)
            await self.make_room(workflow, digest)
        count = await self.promote(workflow, digest)
        names = [self._keys.limited, self._keys.waiting_keys(workflow)]
        names.append(self._keys.concurrency_queue(workflow, digest))
        await self._batcher.script(UNLIST, names, [workflow, digest])
        return count

    async def free(self, workflow: str, digest: str) -> None:
        """A place is held by a run that goes on; one whose run is over, packed or gone is free.

        Many may ask at once, as each run that is rejected does: they wait for the same look.
        """
        key = workflow, digest
        task = self._freeing.get(key)
        if task is None:
            task = self._freeing[key] = asyncio.create_task(self._reconcile(workflow, digest))
            task.add_done_callback(lambda _: self._freeing.pop(key, None))
        await asyncio.shield(task)

    async def _reconcile(self, workflow: str, digest: str) -> None:
        places, at = self._keys.concurrency(workflow, digest), 0
        while raw := await self._batcher.call("ZRANGE", places, at, at + MOST_AT_ONCE - 1):
            holders = [run.decode() for run in raw]
            calls = [self._batcher.call("HGET", self._keys.run(run), "s") for run in holders]
            statuses = await asyncio.gather(*calls)
            over = [run for run, status in zip(holders, statuses, strict=True)
                    if status is None or status.decode() in RUN_TERMINAL]  # fmt: skip
            if over:
                await self._batcher.call("ZREM", places, *over)
            if len(holders) < MOST_AT_ONCE:
                return
            at += len(holders) - len(over)


def _scored(flat: Any) -> list[tuple[str, int]]:
    return [(name.decode(), arrival(float(score))) for name, score in pairs(flat)]
