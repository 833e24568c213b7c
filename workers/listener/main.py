"""The listener process: its sources, supervised. The death of one ends the process with an error."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import structlog
import uvloop

from app import logsetup
from app.collector import tune_collector
from app.errors import HeadraceError, StoreUnavailable, UsageError
from app.intake import Intake, Listeners
from app.published import PublishedCache
from app.settings import Settings
from app.store.store import Store
from workers.executors.process import host
from workers.listener.kafka import KafkaSource
from workers.listener.receiver import Receiver
from workers.listener.redis import RedisSource

log = structlog.get_logger("headrace.listener")

SOURCES = ("redis", "kafka")
PAUSE = 0.5


class Listener:
    """The sources that the settings name, over one open store. Raises UsageError for settings that make no sense."""

    def __init__(self, store: Store, settings: Settings) -> None:
        names = [name.strip() for name in settings.listen.split(",") if name.strip()]
        unknown = [name for name in names if name not in SOURCES]
        if unknown or not names:
            raise UsageError(f"HEADRACE_LISTEN names {' and '.join(SOURCES)}, not '{settings.listen}'")
        self._settings = settings
        self._tallies = store.tallies
        intake = Intake(store.triggers, PublishedCache(store.workflows), Listeners(store.workflows))
        receiver = Receiver(intake, store.triggers.keep_message)
        self._redis = self._kafka = None
        if "redis" in names:
            consumer = f"{host()}-{os.getpid()}-{secrets.token_hex(3)}"
            stream = store.stream(settings.listen_stream, consumer, group=settings.prefix)
            self._redis = RedisSource(stream, receiver, settings)
        if "kafka" in names:
            if not settings.kafka_servers:
                raise UsageError("HEADRACE_KAFKA_SERVERS names no broker")
            self._kafka = KafkaSource(receiver, settings)

    def _start(self) -> list[asyncio.Task[None]]:
        loops: list[Coroutine[Any, Any, None]] = []
        if self._redis is not None:
            loops += [self._redis.read(), self._redis.keep()]
        if self._kafka is not None:
            loops.append(self._kafka.run())
        loops.append(self._tallies.keep_bringing())
        return [asyncio.create_task(loop) for loop in loops]

    async def _drain(self) -> None:
        await asyncio.gather(*(each.drain() for each in (self._redis, self._kafka) if each is not None))

    async def run(self, stop: asyncio.Event) -> bool:
        """Until told to stop; False where a loop died before."""
        loops = self._start()
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([*loops, stopping], return_when=asyncio.FIRST_COMPLETED)
        dead = [loop for loop in loops if loop in done and not stop.is_set()]
        for loop in dead:
            error = loop.exception()
            reason = error.message if isinstance(error, HeadraceError) else type(error).__name__
            log.error(
                "a source died", reason=reason, exc_info=None if isinstance(error, HeadraceError) else error
            )
        if not dead:
            try:
                async with asyncio.timeout(self._settings.drain):
                    await self._drain()
            except (TimeoutError, StoreUnavailable):
                log.warning("drained only in part; what is left is delivered again")
            with suppress(StoreUnavailable):
                await self._tallies.flush()
        left: list[asyncio.Task[Any]] = [*loops, stopping]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return not dead


async def listen(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT (0), or until a source died (1): whoever started us starts us again."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    store = await _open(settings, stop)
    if store is None:
        return 0
    try:
        listener = Listener(store, settings)
        log.info("listener started", sources=settings.listen)
        return 0 if await listener.run(stop) else 1
    finally:
        await store.close()


async def _open(settings: Settings, stop: asyncio.Event) -> Store | None:
    """The store, once it answers; None when we are told to stop before."""
    while not stop.is_set():
        try:
            return await Store.open(settings)
        except StoreUnavailable:
            await asyncio.sleep(PAUSE)
    return None


def run_listener(settings: Settings) -> None:
    """The `headrace listener` command. Ends the process with 1 when a source died."""
    logsetup.configure(settings)
    tune_collector()
    try:
        code = uvloop.run(listen(settings))
    except HeadraceError as error:
        log.error("the listener could not start", reason=error.message)
        code = 1
    raise SystemExit(code)
