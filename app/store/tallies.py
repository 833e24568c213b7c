"""The counts of workers and listeners, on their way to who tells them: so none of these needs a port that is scraped.

An API process takes out what has come since one did last, and adds it to its own. So each count is in the figures of one
process, as Prometheus expects of counters, and their sum is the installation's.
Each brings its own every few seconds. What one that was killed had not brought yet is not counted, and where an answer
was lost it is counted twice: figures for graphs, never for decisions.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from app.core.tally import Tally
from app.errors import StoreUnavailable
from app.store.client import Batcher, Script, pairs
from app.store.keys import Keys

TAKE = Script("take_tallies")

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

    def own(self) -> dict[str, int]:
        """What this process counted since the last time, by its name as app.core.tally says."""
        return self._own.take()

    async def take(self) -> dict[str, int]:
        """What the others brought since it was taken last, by whichever process; 0 for a name of which nothing has come.

        Raises StoreUnavailable.
        """
        flat = await self._batcher.script(TAKE, [self._key], [])
        return {name.decode(): int(count) for name, count in pairs(flat)}
