"""An executor that needs no time: it calls the store's doors behind start and checkpoints, and nothing else.

What is left is the engine's own cost per node: claim, load, decide, commit, admit, start, four steps.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from app.store.nodes import NodeCall, StepReport
from app.store.store import Store
from workers.executors.base import Executor, Launch, Report

STEPS = [
    StepReport("configure"),
    StepReport("execute"),
    StepReport("output", metadata=b'{"uri":"file:part-0.ndjson","count":500}'),
    StepReport("finalize"),
]


class InstantExecutor:
    """Runs each launch at once, inside the worker."""

    def __init__(self, store: Store, capacity: int) -> None:
        self._store = store
        self.capacity = capacity
        """How many it runs at a time; may be changed."""
        self._running = 0
        self.done = 0
        self.by_workflow: Counter[str] = Counter()
        """Launches done of each workflow."""
        self._goal: tuple[int, asyncio.Event] | None = None
        self.on_free: Callable[[], None] = lambda: None

    def free(self) -> int:
        return self.capacity - self._running

    async def submit(self, launch: Launch) -> None:
        task = launch.task
        self._running += 1
        try:
            call = NodeCall(task.run, task.ref, task.attempt)
            started = await self._store.nodes.start(call, "instant", 60_000, [])
            await self._store.nodes.checkpoint(call, started.epoch, STEPS)
            self.done += 1
            self.by_workflow[launch.graph.workflow] += 1
            if self._goal is not None and self.done >= self._goal[0]:
                self._goal[1].set()
        finally:
            self._running -= 1
            self.on_free()

    async def reached(self, count: int) -> None:
        """Wait until so many launches are done."""
        event = asyncio.Event()
        self._goal = (count, event)
        if self.done < count:
            await event.wait()

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        return


def instant(capacity: int = 1000) -> Callable[[Store, str, Report], Executor]:
    def make(store: Store, worker: str, report: Report) -> Executor:
        return InstantExecutor(store, capacity)

    return make
