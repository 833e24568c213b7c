"""One worker's parts, put together and supervised: the death of a loop ends the process with an error."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from app.core.placement import CONTAINER, KUBERNETES
from app.errors import HeadraceError, StoreUnavailable
from app.settings import Settings
from app.store.store import Store
from workers.consumer import RunHandler, StreamLoop, TriggerHandler
from workers.cronjobs import CronJobs
from workers.dispatch import Dispatcher
from workers.executors.base import Executor, Report
from workers.executors.container.keeper import place_of
from workers.executors.process import host
from workers.places import Places
from workers.recovery import Recovery
from workers.retention import Retention
from workers.schedule import Scheduler
from workers.timers import Timers

log = structlog.get_logger("headrace.worker")

ANNOUNCE = 2.5
"""Seconds between signs of life; four may be missed."""
FRESH_SERVER = 60
"""Seconds of uptime below which a server that we find counts as just come back."""

MakeExecutor = Callable[[Store, str, Report], Executor]


class Runtime:
    """Start it with `await runtime.start()`; `failed` is set when a loop died; `await runtime.stop()` drains."""

    def __init__(self, store: Store, settings: Settings, make_executor: MakeExecutor) -> None:
        self.store = store
        self.settings = settings
        self.id = f"{host()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.executor = make_executor(store, self.id, store.workers.exited)
        self.dispatcher = Dispatcher(store, self.executor, settings)
        self.timers = Timers(store.engine)
        self.places = Places(store.concurrency)
        active = store.stream(store.keys.active, self.id)
        triggers = store.stream(store.keys.triggers, self.id)
        self.runs = StreamLoop(
            active, settings, RunHandler(store, active, self.dispatcher, settings, self.timers.wake)
        )
        self.triggers = StreamLoop(triggers, settings, TriggerHandler(store, triggers, settings))
        self.recovery = Recovery(store, self.dispatcher, [active, triggers], self.id)
        self.retention = Retention(store, settings)
        self.cronjobs = CronJobs(store, settings) if settings.scheduler == "cronjobs" else None
        changed = self.cronjobs.changed if self.cronjobs is not None else None
        self.scheduler = Scheduler(store.schedules, store.workers.now, changed)
        self.failed = asyncio.Event()
        self.failure: BaseException | None = None
        self._loops: dict[asyncio.Task[None], str] = {}
        self._stopped = False
        self.executor.on_free = self.dispatcher.ring

    async def start(self) -> None:
        """Start the loops, once. Raises StoreUnavailable where the store cannot be reached; may then be tried again."""
        if self._loops:
            return
        await self._note_restart()
        await self._announce_once()
        for name, loop in {
            "runs": self.runs.read(), "runs kept": self.runs.keep(), "triggers": self.triggers.read(),
            "triggers kept": self.triggers.keep(), "timers": self.timers.run(), "dispatch": self.dispatcher.run(),
            "leases": self.dispatcher.renew(), "executor": self.executor.run(), "health": self._announce(),
            "logs": self.retention.run(), "places": self.places.run(), "schedules": self.scheduler.run(),
        }.items():  # fmt: skip
            self._supervise(name, loop)
        log.info("worker started", worker=self.id)

    def _supervise(self, name: str, loop: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(loop, name=name)
        self._loops[task] = name
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self.runs.draining:
            return
        self.failure = task.exception()
        log.error("a loop of the worker died", loop=self._loops[task], exc_info=self.failure)
        self.failed.set()

    async def _announce(self) -> None:
        """Say that we are live: that we can claim. Notes when the store was away, so that heartbeats start again."""
        away = False
        while True:
            try:
                if away:
                    await self.store.workers.note_pause(await self.store.workers.now())
                await self._announce_once()
                away = False
            except StoreUnavailable:
                away = True
            await asyncio.sleep(ANNOUNCE)

    async def _announce_once(self) -> None:
        record = {
            "host": host(),
            "hosts": self._places(),
            "pid": os.getpid(),
            "capacity": self.settings.worker_capacity,
        }
        await self.store.workers.announce(self.id, record)
        await self.store.tallies.flush()

    def _places(self) -> list[str]:
        """Where launches of ours are recorded beside this machine."""
        executors = {name.strip() for name in self.settings.executors.split(",")}
        clusters = [KUBERNETES] if KUBERNETES in executors else []
        return [*clusters, place_of(self.settings)] if CONTAINER in executors else clusters

    async def _note_restart(self) -> None:
        """A server that came up a moment ago was away before; heartbeats could not be written."""
        if await self.store.uptime() < FRESH_SERVER:
            await self.store.workers.note_pause(await self.store.workers.now())

    async def stop(self) -> None:
        """Drain, once: what is being decided is committed, what is being submitted is submitted; node processes go on."""
        if self._stopped:
            return
        self._stopped = True
        try:
            async with asyncio.timeout(self.settings.drain):
                await asyncio.gather(self.triggers.drain(), self.runs.drain(), self.dispatcher.drain())
        except TimeoutError:
            log.warning("drained only in part; what is left is reclaimed by others")
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.retention.close()
        if self.cronjobs is not None:
            await self.cronjobs.close()
        await self.executor.close()
        try:
            await self.store.tallies.flush()
            await self.store.workers.withdraw(self.id)
        except HeadraceError:
            log.warning("the store is away; this worker's record ends by itself")
        log.info("worker stopped", worker=self.id)
