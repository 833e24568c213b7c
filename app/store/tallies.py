"""The counts of all processes together, in one hash: no worker or listener needs a port that somebody scrapes.

Each brings its own every few seconds. What one that was killed had not brought yet is not counted, and where an answer
was lost it is counted twice: figures for graphs, never for decisions.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from app.core.tally import Tally
from app.errors import StoreUnavailable
from app.store.client import Batcher, pairs
from app.store.keys import Keys

PAUSE = 2.5
"""Seconds between two times that a process brings its counts."""


class Tallies:
    def __init__(self, batcher: Batcher, keys: Keys, own: Tally) -> None:
        self._batcher = batcher
        self._key = keys.tallies
        self._own = own

    async def flush(self) -> None:
        """Add what this process counted. Raises StoreUnavailable: then it is kept for the next time."""
        counts = self._own.take()
        if not counts:
            return
        try:
            calls = [self._batcher.call("HINCRBY", self._key, name, count) for name, count in counts.items()]
            await asyncio.gather(*calls)
        except StoreUnavailable:
            self._own.give_back(counts)
            raise

    async def keep_bringing(self) -> None:
        """Flush now and then, for ever."""
        while True:
            await asyncio.sleep(PAUSE)
            with suppress(StoreUnavailable):
                await self.flush()

    async def read(self) -> dict[str, int]:
        """Every count by its name, as app.core.tally says. Raises StoreUnavailable."""
        flat = await self._batcher.call("HGETALL", self._key)
        return {name.decode(): int(count) for name, count in pairs(flat)}
