"""Sweeps over the queue: what a worker that died between commit and admission left out, what an older one queued."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from app.core.graph import Graph
from app.core.pools import Lane, Waiting
from app.core.tasks import Task
from app.core.view import DEFAULT_PRIORITY
from app.store.admission import Admission
from app.store.client import Batcher, Script, pairs
from app.store.keys import Keys

LANES = Script("lanes")
ENQUEUE = Script("enqueue")
UNWAIT = Script("unwait")
REACTIVATE = Script("reactivate")
REACTIVATED = Script("reactivated")

PAGE = 500
FILED_AT_ONCE = 64


class Mending:
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

    async def sweep(self) -> int:
        """All of it; how many lanes were not filed as they should be."""
        await self.adopt()
        count = await self.file_strays()
        await self._unwait()
        await self._forget_shares()
        return count

    async def adopt(self) -> int:
        """Move what an older release made ready into the queue; how many."""
        moved = 0
        while rows := pairs(await self._batcher.call("ZRANGE", self._keys.ready, 0, PAGE - 1, "WITHSCORES")):
            args: list[str] = []
            for raw, since in rows:
                task = Task.parse(raw)
                args += (raw.decode(), await self._member(task, int(float(since))))
            moved += int(await self._batcher.script(ENQUEUE, [self._keys.ready, self._keys.queue], args))
        return moved

    async def reactivate(self) -> int:
        """Put every run that has signals into `active`, where the stream was lost; how many.

        Whoever makes its group marks that, and the mark stays until all runs were gone through. Those are scanned: a page
        by rank would jump over one for each that is removed meanwhile.
        """
        keys, count, place = self._keys, 0, b"0"
        mark = await self._batcher.call("GET", keys.reactivate)
        if mark is None:
            return 0
        while True:
            place, rows = await self._batcher.call("ZSCAN", keys.runs, place, "COUNT", PAGE)
            runs = [raw.decode() for raw, _ in pairs(rows)]
            if runs:
                names = [name for run in runs for name in (keys.run(run), keys.inbox(run))]
                count += int(await self._batcher.script(REACTIVATE, [keys.active, *names], runs))
            if place == b"0":
                await self._batcher.script(REACTIVATED, [keys.reactivate], [mark])
                return count

    async def _member(self, task: Task, since: int) -> str:
        """The task as a member of the queue; "" where its run is gone."""
        w, v, y = await self._batcher.call("HMGET", self._keys.run(task.run), "w", "v", "y")
        if w is None:
            return ""
        graph = await self._graph(w.decode(), int(v))
        lane = graph.lane(task.ref, int(y or DEFAULT_PRIORITY))
        return Waiting(lane, since, graph.version, task).encode()

    async def file_strays(self) -> int:
        """File lanes that wait and are not filed, and take out those that are filed and empty; how many."""
        filed = {raw.decode() for raw in await self._batcher.call("HKEYS", self._keys.filed)}
        there: set[str] = set()
        last = ""
        while True:
            page = [
                raw.decode() for raw in await self._batcher.script(LANES, [self._keys.queue], [last, PAGE])
            ]
            there.update(page)
            if len(page) < PAGE:
                break
            last = page[-1]
        strays = sorted(filed ^ there)
        for at in range(0, len(strays), FILED_AT_ONCE):
            await self._admission.file([Lane.parse(text) for text in strays[at : at + FILED_AT_ONCE]])
        return len(strays)

    async def _unwait(self) -> None:
        keys = self._keys
        for raw in await self._batcher.call("HKEYS", keys.waits):
            pool = raw.decode()
            await self._batcher.script(
                UNWAIT, [keys.waits, keys.turns(pool), keys.queue, keys.shares], [pool]
            )

    async def _forget_shares(self) -> None:
        """A workflow whose virtual time is past begins at the present one anyway."""
        shares = {
            name: int(time) for name, time in pairs(await self._batcher.call("HGETALL", self._keys.shares))
        }
        present = shares.pop(b"*", 0)
        past = [name for name, time in shares.items() if time <= present]
        if past:
            await self._batcher.call("HDEL", self._keys.shares, *past)
