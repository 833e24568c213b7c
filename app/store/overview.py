"""Read-only counts over a cell: how deep the queues are, and who holds the pools' slots."""

from __future__ import annotations

from typing import Any

from app.core.round import iso
from app.core.tasks import Task
from app.core.view import split_ref
from app.store.client import Batcher, pairs
from app.store.engine import GLOBAL_POOL
from app.store.keys import Keys

MAX_HOLDERS = 1000
"""Holders of one pool that are listed; `used` counts all."""


class Overview:
    """Queues and pools, for /metrics and GET /pools."""

    def __init__(self, batch: Batcher, keys: Keys, global_slots: int) -> None:
        self._batch = batch
        self._keys = keys
        self._global_slots = global_slots

    async def depths(self) -> dict[str, int]:
        """Entries per queue."""
        keys = self._keys
        streams = {"triggers": keys.triggers, "active": keys.active, "dead": keys.dead}
        sets = {"ready": keys.ready, "timers": keys.timers, "launches": keys.launches}
        calls = {name: self._batch.call("XLEN", key) for name, key in streams.items()}
        calls |= {name: self._batch.call("ZCARD", key) for name, key in sets.items()}
        return {name: int(await call) for name, call in calls.items()}

    async def slots(self) -> dict[str, int]:
        """Pool -> slots."""
        found = {
            name.decode(): int(slots)
            for name, slots in pairs(await self._batch.call("HGETALL", self._keys.pools))
        }
        return {GLOBAL_POOL: self._global_slots} | found

    async def used(self) -> dict[str, int]:
        """Pool -> slots that are held."""
        names = await self.slots()
        calls = {name: self._batch.call("HLEN", self._keys.pool(name)) for name in names}
        return {name: int(await call) for name, call in calls.items()}

    async def pools(self) -> list[dict[str, Any]]:
        """[{name, slots, used, holders: [{run, node, item?, since}], waiting}], by name.

        `waiting` of the pool `global` is everything that waits for admission.
        """
        waiting = int(await self._batch.call("ZCARD", self._keys.ready))
        found: list[dict[str, Any]] = []
        for name, slots in sorted((await self.slots()).items()):
            held = pairs(await self._batch.call("HGETALL", self._keys.pool(name)))
            holders = [
                _holder(task, since)
                for task, since in sorted(held, key=lambda pair: int(pair[1]))[:MAX_HOLDERS]
            ]
            waits = waiting if name == GLOBAL_POOL else 0
            found.append(
                {"name": name, "slots": slots, "used": len(held), "holders": holders, "waiting": waits}
            )
        return found


def _holder(raw: bytes, since: bytes) -> dict[str, Any]:
    task = Task.parse(raw)
    node, item = split_ref(task.ref)
    holder: dict[str, Any] = {
        "run": task.run,
        "node": node,
        "attempt": task.attempt,
        "since": iso(int(since)),
    }
    return holder if item is None else holder | {"item": item}
