"""Read-only counts over a cell: how deep the queues are."""

from __future__ import annotations

from app.store.client import Batcher
from app.store.keys import Keys


class Overview:
    """Queues, for /metrics."""

    def __init__(self, batch: Batcher, keys: Keys) -> None:
        self._batch = batch
        self._keys = keys

    async def depths(self) -> dict[str, int]:
        """Entries per queue."""
        keys = self._keys
        streams = {"triggers": keys.triggers, "active": keys.active, "dead": keys.dead}
        sets = {"ready": keys.queue, "timers": keys.timers, "launches": keys.launches}
        calls = {name: self._batch.call("XLEN", key) for name, key in streams.items()}
        calls |= {name: self._batch.call("ZCARD", key) for name, key in sets.items()}
        return {name: int(await call) for name, call in calls.items()}
