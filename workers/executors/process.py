"""The process executor: a node run is a local process of its node type, and outlives its worker.

The process is a session of its own behind a small shim that records its pid and its exit code on disk. A worker that dies
leaves it running; another worker of the same machine adopts it. One found gone after its worker died is an
infrastructure fault; one that was killed alone is a failed attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import structlog

from app.core.signals import Signal, exit_of
from app.core.tasks import Task
from app.errors import StoreUnavailable, Unavailable
from app.settings import Settings
from app.store.store import Store
from app.store.workers import Workers
from workers.executors.base import LINGER, Launch, Report
from workers.executors.launchfiles import ALREADY, SHIM, LaunchFiles, Process, process_start

log = structlog.get_logger("headrace.process")

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables of the worker that a node gets; no other, so no secret of the server's."""
RECONCILE = 1.0
"""Seconds between looks at what must be adopted or stopped."""
CLOCK_SLACK_MS = 50
"""How much earlier than its admission a launch may seem to have been started."""


def host() -> str:
    """The machine whose processes a worker can see."""
    return socket.gethostname()


def environment(own: Mapping[str, str], files: LaunchFiles) -> dict[str, str]:
    """What a node's process gets: of our own environment nothing but PASSED_ON."""
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {
        **passed,
        **own,
        "HEADRACE_OUTPUT": str(files.output),
        "PYTHONUNBUFFERED": "1",
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
    }


class ProcessExecutor:
    def __init__(
        self,
        workers: Workers,
        worker: str,
        settings: Settings,
        command: Callable[[str], list[str]],
        report: Report,
    ) -> None:
        self._workers = workers
        self._command = command
        self._report = report
        self._capacity = settings.worker_capacity
        self._log_dir = settings.log_dir
        self._grace = settings.stop_grace
        self._api_url = settings.api_url
        self._host = host()
        self._me: dict[str, Any] = {
            "worker": worker,
            "worker_pid": os.getpid(),
            "worker_start": process_start(os.getpid()),
        }
        self._watched: dict[Task, asyncio.Task[None]] = {}
        self._stopping: dict[Task, float] = {}
        self._over: dict[Task, float] = {}
        self._outlived: set[Task] = set()
        """Launches that outlived the state of the store in which they were admitted."""
        self.on_free: Callable[[], None] = lambda: None

    def free(self) -> int:
        return self._capacity - len(self._watched)

    async def submit(self, launch: Launch) -> None:
        """Start the process, or adopt the one that an earlier worker started for this launch.

        One that is ours already is only recorded again: that is what the store's absence kept from being done.
        """
        task = launch.task
        files = LaunchFiles(self._log_dir, task)
        process, popen = files.process(), None
        if process is None:
            command = self._command(launch.node.type or "")
            popen = self._spawn(files, command, launch.environment())
            process = await self._started(files, popen)
        record = {**self._me, "pid": process.pid, "start": process.start, "api_url": self._api_url}
        if popen is None and await self._is_of_a_lost_future(task, files):
            self._outlived.add(task)
        if task not in self._watched:
            self._watch(task, files, process, popen, orphan=popen is None)
        if not await self._workers.launched(task, self._host, launch.node.timeouts.run_ms, record):
            self._stopping.setdefault(task, monotonic())

    async def _is_of_a_lost_future(self, task: Task, files: LaunchFiles) -> bool:
        """Whether a launch was started before it was admitted: the store was set back to an older state meanwhile."""
        admitted = await self._workers.admitted(task)
        if admitted is None:
            return False
        asked = time.time() * 1000
        ahead = asked - await self._workers.now()  # of our clock, at least
        return files.started_ms() - ahead < admitted - CLOCK_SLACK_MS

    def _spawn(self, files: LaunchFiles, command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        files.base.parent.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            ["/bin/sh", "-c", SHIM, "headrace-node", str(files.base), *command],
            env=environment(env, files),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @staticmethod
    async def _started(files: LaunchFiles, popen: subprocess.Popen[bytes]) -> Process:
        """The shim's record; of the earlier launch where there was one."""
        while True:
            process = files.process()
            if process is not None and (process.pid == popen.pid or popen.poll() == ALREADY):
                return process
            if popen.poll() is not None:
                if popen.returncode == ALREADY:
                    raise Unavailable(f"the files of a launch cannot be written below {files.base.parent}")
                return Process(popen.pid, 0)
            await asyncio.sleep(0.001)

    # watching ---------------------------------------------------------------------------------------------------

    def _watch(
        self,
        task: Task,
        files: LaunchFiles,
        process: Process,
        popen: subprocess.Popen[bytes] | None,
        *,
        orphan: bool,
    ) -> None:
        found_gone = orphan and not process.alive()
        watcher = asyncio.create_task(self._follow(task, files, process, popen, found_gone))
        self._watched[task] = watcher

        def ended(_: asyncio.Task[None]) -> None:
            self._watched.pop(task, None)
            self._stopping.pop(task, None)
            self._over.pop(task, None)
            self._outlived.discard(task)
            self.on_free()

        watcher.add_done_callback(ended)

    async def _follow(
        self,
        task: Task,
        files: LaunchFiles,
        process: Process,
        popen: subprocess.Popen[bytes] | None,
        found_gone: bool,
    ) -> None:
        """Wait until the process is gone, and say so until it is heard."""
        await wait_gone(process)
        if popen is not None:
            popen.wait()
        code = files.exit_code()
        if code is None and popen is not None and popen.returncode not in (None, ALREADY):
            code = popen.returncode
        await self._tell(task, files, self._exit_signal(task, files, code, found_gone))

    def _exit_signal(self, task: Task, files: LaunchFiles, code: int | None, found_gone: bool) -> Signal:
        killed = code is None or code < 0
        if killed and (found_gone or code is None):
            text = "the process was gone after its worker had died" if found_gone else "the process is gone"
            return exit_of(task, code=code, type="lost", message=text, infra=True)
        output, problem = files.read_output() if code == 0 else (None, None)
        if problem is not None:
            return exit_of(task, code=code, type="bad_output", message=problem)
        if (
            task in self._outlived and output is None
        ):  # what it checkpointed is lost, and it was refused since
            text = "the store was set back to before this launch; its checkpoints are lost"
            return exit_of(task, code=code, type="lost", message=text, infra=True)
        return exit_of(task, code=code, output=output)

    async def _tell(self, task: Task, files: LaunchFiles, signal_: Signal) -> None:
        while True:
            try:
                await self._report(task.run, signal_, files.lived())
                await self._workers.forget_process(task, self._host)
            except StoreUnavailable:
                await asyncio.sleep(0.5)
            else:
                return

    # adoption and stopping --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Adopt what dead workers of this machine left, and stop what must stop, for ever."""
        while True:
            try:
                await self._adopt()
                await self._reconcile()
            except StoreUnavailable:
                log.warning("the store is away")
            await asyncio.sleep(RECONCILE)

    async def _adopt(self) -> None:
        for task, record in (await self._workers.processes(self._host)).items():
            if task in self._watched or Process(record["worker_pid"], record["worker_start"]).alive():
                continue
            log.info("adopting a process", task=task.encode(), pid=record["pid"])
            process = Process(record["pid"], record["start"])
            await self._workers.adopt(task, self._host, {**record, **self._me})
            if record.get("api_url") != self._api_url:
                kill(process, signal.SIGKILL)  # it would call an address where no API is any more
                await wait_gone(process)
            self._watch(task, LaunchFiles(self._log_dir, task), process, None, orphan=True)

    async def _reconcile(self) -> None:
        tasks = list(self._watched)
        if not tasks:
            return
        now = monotonic()
        for task, state in zip(tasks, await self._workers.states(tasks), strict=True):
            if state.lives(task) and not state.stop and task not in self._stopping:
                continue
            since = self._over.setdefault(task, now)
            if state.stop or task in self._stopping or now - since > LINGER:
                self._stop(task, now)

    def _stop(self, task: Task, now: float) -> None:
        process = LaunchFiles(self._log_dir, task).process()
        first = self._stopping.setdefault(task, now)
        if process is not None:
            kill(process, signal.SIGTERM if now - first < self._grace else signal.SIGKILL)

    async def close(self) -> None:
        """Let go: the processes go on, and are adopted."""
        for watcher in list(self._watched.values()):
            watcher.cancel()
        await asyncio.gather(*self._watched.values(), return_exceptions=True)


def kill(process: Process, number: int) -> None:
    """Signal the whole session of a process, if it is still the one that was meant."""
    if process.alive():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


async def wait_gone(process: Process) -> None:
    """Return when a process of this machine has ended, whoever its parent is."""
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        while process.alive():  # noqa: ASYNC110  (no event tells it: the system has no pidfd)
            await asyncio.sleep(0.1)
        return
    try:
        if not process.alive():
            return
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(handle, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(handle)
    finally:
        os.close(handle)


async def end_all(settings: Settings, grace: float = 3.0) -> int:
    """End every node process of this machine that the installation knows; how many there were.

    Their node runs resume at the next start, from their checkpoints.
    """
    store = await Store.open(settings)
    try:
        records = await store.workers.processes(host())
    finally:
        await store.close()
    processes = [Process(record["pid"], record["start"]) for record in records.values()]
    alive = [process for process in processes if process.alive()]
    for process in alive:
        kill(process, signal.SIGTERM)
    waits = [asyncio.create_task(wait_gone(process)) for process in alive]
    if waits:
        _, late = await asyncio.wait(waits, timeout=grace)
        for process in alive:
            kill(process, signal.SIGKILL)
        if late:
            await asyncio.wait(late)
    return len(alive)
