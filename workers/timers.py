"""Timers: each that is due becomes one signal of its run."""

from __future__ import annotations

import asyncio

from app.bell import rung
from app.core.signals import Signal, SignalKind
from app.errors import StoreUnavailable
from app.store.engine import Engine

LOOK = 1.0
"""Seconds between looks at most; other workers set timers too."""
MOST = 200


class Timers:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._bell = asyncio.Event()
        self._next = 0.0

    def wake(self, in_ms: int) -> None:
        """A timer was set that is due in so many ms."""
        if in_ms / 1000 < self._next - asyncio.get_running_loop().time():
            self._next = asyncio.get_running_loop().time() + in_ms / 1000
            self._bell.set()

    async def run(self) -> None:
        """Fire what is due, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                due, coming = await self._engine.due_timers(MOST)
                for run, ref, score in due:
                    await self._engine.fire(run, ref, score, Signal(SignalKind.DUE, ref))
            except StoreUnavailable:
                await asyncio.sleep(0.5)
                continue
            if len(due) == MOST:
                continue
            self._next = loop.time() + (LOOK if coming is None else min(coming, LOOK))
            await self._sleep()

    async def _sleep(self) -> None:
        """Until the next timer; a sooner one that is set meanwhile shortens it."""
        loop = asyncio.get_running_loop()
        while (left := self._next - loop.time()) > 0:
            self._bell.clear()
            if not await rung(self._bell, left + 0.001):
                return
