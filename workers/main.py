"""The worker process: an arq worker whose start-up starts the engine's loops, and whose cron runs the recovery sweeps.

Nothing of the path trigger -> decide -> submit is an arq job: arq runs what is slow, deferred or periodic.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Any

import orjson
import structlog
import uvloop
from arq.connections import ArqRedis
from arq.cron import cron
from arq.worker import Worker

from app import logsetup
from app.collector import tune_collector
from app.core.placement import CONTAINER, KUBERNETES, PROCESS, SERVICE, Placement
from app.errors import HeadraceError, StoreUnavailable
from app.joblogs import check_shared
from app.nodetypes_files import NodeTypeFiles
from app.settings import Settings
from app.store.arqpool import arq_pool
from app.store.client import translate
from app.store.store import Store
from workers.executors.base import Executor, Report
from workers.executors.container.executor import ContainerExecutor
from workers.executors.kubernetes.executor import KubernetesExecutor
from workers.executors.process import ProcessExecutor
from workers.executors.router import Router
from workers.executors.service import ServiceExecutor
from workers.runtime import MakeExecutor, Runtime

log = structlog.get_logger("headrace.worker")

SWEEPS = set(range(0, 60, 5))
"""Seconds of the minute at which one worker runs the recovery sweeps."""
JOB_TIMEOUT = 30
"""Seconds that an arq job of ours may take."""
START_TRIES = 30
ARQ_PAUSE = 0.5
"""Seconds before arq's loop begins again."""
RECONCILING = {3, 18, 33, 48}
"""Seconds of the minute at which one worker compares the CronJobs of a cluster with the schedules."""
KEEPING = {7, 27, 47}
"""Seconds of the minute at which one worker packs, archives and removes finished runs."""


async def sweep(ctx: dict[Any, Any]) -> dict[str, int]:
    """The recovery sweeps, as an arq job."""
    runtime: Runtime = ctx["runtime"]
    return await runtime.recovery.sweep()


async def keep(ctx: dict[Any, Any]) -> dict[str, int]:
    """Finished runs on their way out, as an arq job."""
    runtime: Runtime = ctx["runtime"]
    try:
        return await runtime.retention.sweep()
    except StoreUnavailable:
        return {}


async def reconcile(ctx: dict[Any, Any]) -> dict[str, int]:
    """The CronJobs of schedules, as an arq job."""
    runtime: Runtime = ctx["runtime"]
    try:
        return await runtime.cronjobs.sweep() if runtime.cronjobs is not None else {}
    except StoreUnavailable:
        return {}


def configured_executors(settings: Settings) -> MakeExecutor:
    """The executors that the settings list; process commands come from the manifests on this machine.

    Raises UsageError for settings that make no sense.
    """
    check_shared(settings)
    files = NodeTypeFiles.load(settings)
    placement = Placement.parse(settings.executors, settings.image_allow, files.placed(settings.nodes_image))

    def make(store: Store, worker: str, report: Report) -> Executor:
        executors: dict[str, Executor] = {SERVICE: ServiceExecutor(store, worker, settings)}
        for name in placement.executors:
            if name == PROCESS:
                executors[name] = ProcessExecutor(store.workers, worker, settings, files.command, report)
            elif name == CONTAINER:
                executors[name] = ContainerExecutor(store, worker, settings, placement, report)
            elif name == KUBERNETES:
                executors[name] = KubernetesExecutor(store, worker, settings, placement, report)
        return Router(executors, placement)

    return make


def arq_worker(runtime: Runtime, pool: ArqRedis) -> Worker:
    """arq around our loops. Its jobs are short, their results are not kept, its serializer is JSON."""

    async def started(ctx: dict[Any, Any]) -> None:
        ctx["runtime"] = runtime
        await runtime.start()

    # cron's ids are global in arq: the name keeps installations on one server apart
    tag = runtime.store.keys.tag
    once: dict[str, Any] = {"timeout": JOB_TIMEOUT, "keep_result": 0, "max_tries": 1}
    queue = runtime.store.keys.arq_queue
    cronjobs = (
        [cron(reconcile, name=f"cron:cronjobs:{tag}", second=RECONCILING, **once)] if runtime.cronjobs else []
    )
    return Worker(
        functions=[],
        cron_jobs=[
            cron(sweep, name=f"cron:sweep:{tag}", second=SWEEPS, **once),
            cron(keep, name=f"cron:keep:{tag}", second=KEEPING, **once),
            *cronjobs,
        ],
        redis_pool=pool,
        queue_name=queue,
        on_startup=started,
        handle_signals=False,
        job_completion_wait=0,
        job_timeout=JOB_TIMEOUT,
        keep_result=0,
        health_check_interval=5,
        health_check_key=f"{queue}:health:{runtime.id}",
        job_serializer=orjson.dumps,
        job_deserializer=orjson.loads,
        log_results=False,
    )


async def run_arq(settings: Settings, runtime: Runtime) -> None:
    """arq's loop, begun again when it lost the store (which ends it); ours below it have reconnected by themselves."""
    while True:
        pool = arq_pool(settings)
        worker = arq_worker(runtime, pool)
        try:
            await worker.async_run()
        except Exception as error:
            if not isinstance(translate(error), StoreUnavailable):
                raise
            log.warning("arq lost the store; it begins again")
        finally:
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(worker.close(), 2)
            with contextlib.suppress(Exception):
                await pool.aclose(close_connection_pool=True)
        await asyncio.sleep(ARQ_PAUSE)


async def work(settings: Settings, make_executor: MakeExecutor) -> int:
    """Run until SIGTERM or SIGINT (0), or until a loop died (1): whoever started us starts us again."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    store = await _open(settings, stop)
    if store is None:
        return 1
    runtime = Runtime(store, settings, make_executor)
    running = asyncio.create_task(run_arq(settings, runtime))
    waits: list[asyncio.Task[Any]] = [
        running,
        asyncio.create_task(runtime.failed.wait()),
        asyncio.create_task(stop.wait()),
    ]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    failed = runtime.failed.is_set() or running.done()
    if running.done() and not running.cancelled():
        log.error("arq's loop ended", exc_info=running.exception())
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    await runtime.stop()
    await store.close()
    return 1 if failed and not stop.is_set() else 0


async def _open(settings: Settings, stop: asyncio.Event) -> Store | None:
    """The store, once it answers; None when it does not come or we are told to stop."""
    for tries in range(START_TRIES):
        if stop.is_set():
            return None
        if tries == 1:
            log.warning("the store does not answer; trying again")
        try:
            return await Store.open(settings)
        except StoreUnavailable:
            await asyncio.sleep(0.5)
    log.error("the store does not answer; giving up")
    return None


def run_worker(settings: Settings) -> None:
    """The `headrace worker` command. Ends the process with 1 when a loop died."""
    logsetup.configure(settings)
    tune_collector()
    try:
        code = uvloop.run(work(settings, configured_executors(settings)))
    except HeadraceError as error:
        log.error("the worker could not start", reason=error.message)
        code = 1
    raise SystemExit(code)
