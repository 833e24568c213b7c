"""An executor whose nodes take the time they were given, and fail when they were told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from app.store.nodes import NodeCall
from app.store.store import Store
from loadtests.instant import STEPS
from loadtests.shapes.greedy import Attempt
from workers.executors.base import Executor, Launch, Report


class TimedExecutor:
    """Launches are started by their first call of the node protocol and end with their last, or with a failure."""

    def __init__(self, store: Store, attempts: Mapping[str, Sequence[Attempt]]) -> None:
        self._store = store
        self.attempts = attempts
        self._running: set[asyncio.Task[None]] = set()
        self.on_free: Callable[[], None] = lambda: None

    def free(self) -> int:
        return 10_000  # the slots of the pool are the limit

    async def submit(self, launch: Launch) -> None:
        task = asyncio.create_task(self._node(launch))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _node(self, launch: Launch) -> None:
        task, nodes = launch.task, self._store.nodes
        attempt = self.attempts[task.ref][task.attempt - 1]
        call = NodeCall(task.run, task.ref, task.attempt)
        began = asyncio.get_running_loop().time()
        started = await nodes.start(call, "timed", 60_000, [])
        await asyncio.sleep(max(began + attempt.seconds - asyncio.get_running_loop().time(), 0))
        if attempt.fails:
            await nodes.fail(call, started.epoch, "drawn", "this attempt was drawn to fail", retryable=True)
        else:
            await nodes.checkpoint(call, started.epoch, STEPS)
        self.on_free()

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        for task in self._running:
            task.cancel()


def timed(attempts: Mapping[str, Sequence[Attempt]]) -> Callable[[Store, str, Report], Executor]:
    def make(store: Store, worker: str, report: Report) -> Executor:
        return TimedExecutor(store, attempts)

    return make
