"""Keeps children alive: one that dies is started again, at once at first, then ever more slowly."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterable

from app.bell import rung
from app.cli.dev.children import Child
from app.errors import HeadraceError

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
STEADY = 10.0
"""Seconds a child must have lived for its next restart to be quick again."""


class _Kept:
    def __init__(self, child: Child) -> None:
        self.child = child
        self.stopping = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.deaths = 0


class Supervisor:
    """`changed` is called after each restart, `say` with a line for the person at each death."""

    def __init__(self, *, changed: Callable[[], None], say: Callable[[str], None]) -> None:
        self._changed = changed
        self._say = say
        self._kept: dict[str, _Kept] = {}

    async def start(self, child: Child) -> None:
        """Start a child and keep it. Raises what the first start raises."""
        kept = self._kept[child.name] = _Kept(child)
        await child.start()
        kept.task = asyncio.create_task(self._keep(kept), name=f"keep {child.name}")

    @property
    def children(self) -> list[Child]:
        """All that were started."""
        return [one.child for one in self._kept.values()]

    def deaths(self, child: Child) -> int:
        """How often this child has died so far."""
        return self._kept[child.name].deaths

    async def _keep(self, kept: _Kept) -> None:
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            code = await kept.child.wait()
            if kept.stopping.is_set():
                return
            kept.deaths += 1
            if time.monotonic() - began >= STEADY:
                pause = FIRST_PAUSE
            self._say(f"{kept.child.name} {_fate(code)}; starting it again")
            while True:
                if await rung(kept.stopping, pause):
                    return
                pause = min(pause * 2, LONGEST_PAUSE)
                try:
                    await kept.child.start()
                    break
                except (HeadraceError, OSError) as error:
                    self._say(f"{kept.child.name} cannot be started: {error}")
            if kept.stopping.is_set():
                kept.child.signal(signal.SIGTERM)
            else:
                self._changed()

    async def stop(self, children: Iterable[Child], grace: float) -> list[str]:
        """End children together: SIGTERM, after `grace` seconds SIGKILL. Names of those that were killed."""
        kept = [self._kept[child.name] for child in children if child.name in self._kept]
        for one in kept:
            one.stopping.set()
            one.child.signal(signal.SIGTERM)
        tasks = {one.task: one for one in kept if one.task}
        if not tasks:
            return []
        _, late = await asyncio.wait(tasks, timeout=grace)
        for task in late:
            tasks[task].child.signal(signal.SIGKILL)
        if late:
            await asyncio.wait(late, timeout=5)
        return [tasks[task].child.name for task in late]

    def kill(self) -> None:
        """End everything at once."""
        for one in self._kept.values():
            one.stopping.set()
            one.child.signal(signal.SIGKILL)


def _fate(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
