"""The stock node type `noop`, played in this process: an example then takes milliseconds.

tests/nodes/test_noop.py has the real one.

Its metadata is its config, of which some fields say how it goes:

| field | what happens |
|---|---|
| takes: DURATION | execute takes so long |
| fail: true | the attempt fails |
| fail_attempts: N | the attempts 1 to N fail |
| fatal: true | the attempt fails, and a retry would not help |
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import orjson

from app.core.durations import parse_duration
from app.core.signals import exit_of
from app.errors import StaleEpoch
from app.store.nodes import NodeCall, StepReport
from app.store.store import Store
from workers.executors.base import Executor, Launch, Report

HOST = "documentation"
CAPACITY = 200
HEARTBEAT = 0.02
"""Seconds between signs of life, at which a node also hears that it must stop."""
STOPPED = 143
"""Exit code of a process that was told to end."""


class NoopExecutor(Executor):
    """Plays `noop` in this process; every other node type goes to the executor of processes."""

    def __init__(self, store: Store, report: Report, processes: Executor) -> None:
        self._store = store
        self._report = report
        self._processes = processes
        self._playing: set[asyncio.Task[None]] = set()
        self.on_free: Callable[[], None] = lambda: None
        processes.on_free = lambda: self.on_free()

    def free(self) -> int:
        return min(CAPACITY - len(self._playing), self._processes.free())

    async def submit(self, launch: Launch) -> None:
        if not (launch.node.type or "").startswith("noop@"):
            await self._processes.submit(launch)
        elif await self._store.workers.launched(launch.task, HOST, launch.node.timeouts.run_ms, {"pid": 0}):
            playing = asyncio.create_task(self._play(launch))
            self._playing.add(playing)
            playing.add_done_callback(self._ended)

    def _ended(self, playing: asyncio.Task[None]) -> None:
        self._playing.discard(playing)
        self.on_free()
        if not playing.cancelled():
            playing.result()

    async def _play(self, launch: Launch) -> None:
        task = launch.task
        call = NodeCall(task.run, task.ref, task.attempt)
        code = STOPPED
        with contextlib.suppress(StaleEpoch):
            run = await self._store.runs.get(task.run)
            graph = await self._store.graphs.get(run["workflow"], run["version"])
            node = graph.node_of(task.ref)
            due_ms = min(node.timeouts.heartbeat_ms, node.timeouts.run_ms)
            started = await self._store.nodes.start(call, f"noop-{task.launch}", due_ms, [])
            config = node.config.value if started.config is None else started.config
            if await self._execute(call, started.epoch, config):
                code = await self._finish(call, started.epoch, config)
        await self._report(task.run, exit_of(task, code=code))
        await self._store.workers.forget_process(task, HOST)

    async def _execute(self, call: NodeCall, epoch: int, config: dict[str, Any]) -> bool:
        """Let the time pass; False when told to stop."""
        await self._store.nodes.checkpoint(call, epoch, [StepReport("configure")])
        seconds = parse_duration(config["takes"]) / 1000 if "takes" in config else 0.0
        ends = asyncio.get_running_loop().time() + seconds
        while (left := ends - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(left, HEARTBEAT))
            if await self._store.nodes.heartbeat(call, epoch):
                return False
        return True

    async def _finish(self, call: NodeCall, epoch: int, config: dict[str, Any]) -> int:
        """The end that the config asks for; the exit code."""
        fatal = bool(config.get("fatal"))
        if fatal or config.get("fail") or call.attempt <= config.get("fail_attempts", 0):
            await self._store.nodes.fail(call, epoch, "Broken", "it failed as its config says", not fatal)
            return 1
        ends = [
            StepReport("execute"),
            StepReport("output", metadata=orjson.dumps(config)),
            StepReport("finalize"),
        ]
        await self._store.nodes.checkpoint(call, epoch, ends)
        return 0

    async def run(self) -> None:
        await self._processes.run()

    async def close(self) -> None:
        for playing in list(self._playing):
            playing.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)
        await self._processes.close()
