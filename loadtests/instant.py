"""An executor that needs no time: it calls the store's doors behind start and checkpoints, and nothing else.

What is left is the engine's own cost per node: claim, load, decide, commit, admit, start, four steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from app.core.view import split_ref
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
        self._capacity = capacity
        self._running = 0
        self.done = 0
        self.on_free: Callable[[], None] = lambda: None

    def free(self) -> int:
        return self._capacity - self._running

    async def submit(self, launch: Launch) -> None:
        task = launch.task
        self._running += 1
        try:
            call = NodeCall(task.run, task.ref, task.attempt)
            name, _ = split_ref(task.ref)
            upstream = self._upstream(task.run, name)
            started = await self._store.nodes.start(call, "instant", 60_000, upstream)
            await self._store.nodes.checkpoint(call, started.epoch, STEPS)
            self.done += 1
        finally:
            self._running -= 1
            self.on_free()

    def _upstream(self, run: str, name: str) -> list[str]:
        return []

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        return


def instant(capacity: int = 1000) -> Callable[[Store, str, Report], Executor]:
    def make(store: Store, worker: str, report: Report) -> Executor:
        return InstantExecutor(store, capacity)

    return make
