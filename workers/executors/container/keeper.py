"""What becomes of the containers that a worker looks after: how they end, and that those which must stop do.

The engine's events say when to look; the list that is made every second is the truth. A container outlives its worker: any
worker of the same engine takes over what no live worker looks after.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from time import monotonic, time
from typing import Any
from urllib.parse import urlsplit

import orjson
import structlog

from app.bell import rung
from app.core.signals import Signal, exit_of
from app.core.tasks import Task
from app.errors import StoreUnavailable
from app.logfiles import log_path
from app.settings import Settings
from app.store.store import Store
from workers.executors.base import LINGER, Report
from workers.executors.container import reasons
from workers.executors.container.engine import MISSING, Engine, EngineError
from workers.executors.container.logcopy import copy_log
from workers.executors.container.spec import OUTPUT
from workers.executors.launchfiles import OUTPUT_LIMIT, Process, process_start
from workers.executors.naming import INSTANCE, MANAGED, TASK, label
from workers.executors.process import host
from workers.executors.rate import Backoff

log = structlog.get_logger("headrace.container")

LOOK = 1.0
"""Seconds between lists of the containers, and between looks at what must be stopped."""
SILENCE = 300.0
"""Seconds without an event after which their stream is opened anew."""
LOG_END = 5.0
"""Seconds without a byte after which the rest of a log of an ended container is given up."""
REMOVAL = 1.0
"""Seconds within which a container that was killed to be removed is gone."""
SLACK_MS = 2_000
"""How much older than its admission a container may seem: its time is by the engine's clock."""


def place_of(settings: Settings) -> str:
    """The name under which the launches of an engine are recorded: of one that is local, this machine's."""
    parts = urlsplit(settings.container_engine)
    return f"container:{host() if parts.scheme == 'unix' else parts.netloc}"


@dataclass(slots=True)
class Kept:
    """A container that this worker looks after."""

    id: str
    lost: str = ""
    """Why its end will be an infrastructure fault."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Something happened to it: look."""
    stopping: float | None = None
    """monotonic() when it was first to stop."""
    over: float | None = None
    """monotonic() when its attempt was first seen to be over."""
    asked: bool = False
    """It was sent SIGTERM."""


class Keeper:
    def __init__(
        self,
        store: Store,
        engine: Engine,
        settings: Settings,
        worker: str,
        report: Report,
        ended: Callable[[], None],
    ) -> None:
        """`ended` is called when a container is looked after no more."""
        self._store = store
        self._engine = engine
        self._report = report
        self._ended = ended
        self._log_dir = settings.log_dir
        self._grace = settings.stop_grace
        self.place = place_of(settings)
        self._labels = {MANAGED: "headrace", INSTANCE: label(settings.prefix)}
        self.record: dict[str, Any] = {
            "worker": worker, "worker_host": host(), "worker_pid": os.getpid(),
            "worker_start": process_start(os.getpid()),
            "api_url": settings.container_api_url or settings.api_url,
        }  # fmt: skip
        self.kept: dict[Task, Kept] = {}
        self._following: dict[Task, asyncio.Task[None]] = {}
        self._unkept: set[Task] = set()
        """Those of the last list that nobody looked after."""
        self.answering = True
        """Whether the engine answered the last time."""

    def keep(self, task: Task, container: str, lost: str = "") -> Kept:
        """Look after a container that was started, from now on."""
        found = self.kept.get(task)
        if found is not None:
            return found
        kept = self.kept[task] = Kept(container, lost)
        following = self._following[task] = asyncio.create_task(self._follow(task, kept))

        def done(ended: asyncio.Task[None]) -> None:
            self.kept.pop(task, None)
            self._following.pop(task, None)
            if not ended.cancelled() and (error := ended.exception()) is not None:
                log.error("a container is not looked after; it is taken up again", exc_info=error)
            self._ended()

        following.add_done_callback(done)
        return kept

    async def close(self) -> None:
        """Let go: the containers go on, and are taken over."""
        following = list(self._following.values())
        for each in following:
            each.cancel()
        await asyncio.gather(*following, return_exceptions=True)

    # one container ----------------------------------------------------------------------------------------------

    async def _follow(self, task: Task, kept: Kept) -> None:
        """Copy its log, wait for its end, say so until it is heard, and remove it."""
        path = log_path(self._log_dir, task.run, task.ref, task.attempt, task.launch)
        copying = asyncio.create_task(copy_log(self._engine, kept.id, path))
        try:
            end = await self._end(task, kept)
            await self._copied(copying, path)
            end = await self._unless_removed(task, kept, end)
        finally:
            copying.cancel()
        await self._tell(task, end)
        try:
            await self._engine.remove(kept.id)
        except EngineError as error:  # the next list finds it
            log.warning("a container is not removed yet", task=task.encode(), reason=error.message)

    @staticmethod
    async def _copied(copying: asyncio.Task[None], path: Path) -> None:
        """Return when the rest of the log is there, or nothing more of it comes."""
        size = -1
        while not copying.done() and size != (size := path.stat().st_size if path.exists() else 0):
            await asyncio.wait({copying}, timeout=LOG_END)

    async def _end(self, task: Task, kept: Kept) -> Signal:
        backoff = Backoff()
        while True:
            kept.changed.clear()
            try:
                found = await self._engine.inspect(kept.id)
                end = reasons.ended(task, found, kept.lost)
                if end is not None:
                    return await self._dated(task, found, await self._with_output(task, kept, end))
            except EngineError as error:
                if error.http_status == MISSING:
                    return reasons.gone(task)
                await asyncio.sleep(backoff.next())
                continue
            except StoreUnavailable:
                await asyncio.sleep(backoff.next())
                continue
            backoff.reset()
            await kept.changed.wait()

    async def _unless_removed(self, task: Task, kept: Kept, end: Signal) -> Signal:
        """The end of a launch, once it is known of one that was killed whether it was killed to be removed: `rm --force` kills
        first, and that costs no attempt."""
        if end.code != -SIGKILL or end.type or kept.stopping is not None:
            return end
        deadline = monotonic() + REMOVAL
        while monotonic() < deadline:
            kept.changed.clear()
            try:
                await self._engine.inspect(kept.id)
            except EngineError as error:
                if error.http_status == MISSING:
                    return reasons.gone(task)
            await rung(kept.changed, REMOVAL / 5)
        return end

    async def _with_output(self, task: Task, kept: Kept, end: Signal) -> Signal:
        if end.code != 0 or end.type:
            return end
        return reasons.with_output(task, await self._engine.read_file(kept.id, OUTPUT, OUTPUT_LIMIT + 1))

    async def _dated(self, task: Task, found: dict[str, Any], end: Signal) -> Signal:
        """The end of a launch; one that was made before the store's present state admitted it has lost its checkpoints."""
        if end.infra or end.output is not None:
            return end
        admitted, made = await self._store.workers.admitted(task), reasons.created_ms(found)
        if admitted is None or made is None:
            return end
        ahead = time() * 1000 - await self._store.workers.now()
        if made - ahead + SLACK_MS > admitted:
            return end
        text = "the store was set back to before this launch; its checkpoints are lost"
        return exit_of(task, code=end.code, type="lost", message=text, infra=True)

    async def _tell(self, task: Task, end: Signal) -> None:
        while True:
            try:
                await self._report(task.run, end)
                await self._store.workers.forget_process(task, self.place)
            except StoreUnavailable:
                await asyncio.sleep(0.5)
            else:
                return

    # all of them ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Listen, take over and stop, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._look_again())

    async def _listen(self) -> None:
        backoff = Backoff()
        while True:
            try:
                async with self._engine.events(self._labels, silence=SILENCE) as told:
                    for kept in self.kept.values():
                        kept.changed.set()
                    while line := await told.readline():
                        backoff.reset()
                        self._heard(line)
            except (EngineError, ValueError) as error:
                log.debug("the engine's events broke off", reason=str(error))
            await asyncio.sleep(backoff.next())

    def _heard(self, line: bytes) -> None:
        """Raises ValueError for half a line."""
        told: Any = orjson.loads(line)
        about = told.get("Actor") or {} if isinstance(told, dict) else {}
        try:
            task = Task.parse(str(about["Attributes"][TASK]))
        except (KeyError, TypeError, ValueError):
            return
        if (kept := self.kept.get(task)) is not None:
            kept.changed.set()

    async def _look_again(self) -> None:
        while True:
            try:
                await self._look()
                if not self.answering:
                    log.info("the container engine answers again")
                    self.answering = True
                    self._ended()
                await self._stop_what_must()
            except StoreUnavailable:
                log.warning("the store is away")
            except EngineError as error:
                if self.answering:
                    log.error("the container engine does not answer", reason=error.message)
                self.answering = False
            await asyncio.sleep(LOOK)

    async def _look(self) -> None:
        """One list: wake those whose container has ended, take over what nobody looks after."""
        records = await self._store.workers.processes(self.place)
        things = await self._engine.listed(self._labels)
        listed = {task: thing for thing in things if (task := _task(thing)) is not None}
        for task, kept in list(self.kept.items()):
            thing = listed.get(task)
            if thing is None or reasons.state(thing) != "running":
                kept.changed.set()
            if self._is_anothers(records.get(task)):
                self._following[task].cancel()
        free = [task for task in {*records, *listed} if task not in self.kept]
        if not free:
            self._unkept.clear()
            return
        live = set(await self._store.workers.live())
        unkept = {task for task in free if not self._has_keeper(records.get(task), live)}
        for task in unkept & self._unkept:
            await self._take_over(task, listed.get(task), records.get(task))
        self._unkept = unkept

    def _is_anothers(self, record: dict[str, Any] | None) -> bool:
        return record is not None and record.get("worker") != self.record["worker"]

    def _has_keeper(self, record: dict[str, Any] | None, live: set[str]) -> bool:
        """Whether the worker of a record lives: on this machine it is looked at, elsewhere it says so itself."""
        if record is None:
            return False
        if record.get("worker") == self.record["worker"]:
            return False
        if record.get("worker_host") == self.record["worker_host"]:
            return Process(record["worker_pid"], record["worker_start"]).alive()
        return record.get("worker") in live

    async def _take_over(
        self, task: Task, thing: dict[str, Any] | None, record: dict[str, Any] | None
    ) -> None:
        """A container, or the record of one that is gone, that nobody looks after. Raises EngineError, StoreUnavailable."""
        if thing is None:
            await self._tell(task, reasons.gone(task))
            return
        if record is None and await self._store.workers.is_launching(task):
            return  # whoever submits it looks after it
        if record is None and reasons.state(thing) in reasons.UNSTARTED:
            await self._engine.remove(thing["Id"])
            return
        log.info("taking over a container", task=task.encode(), container=thing["Id"][:12])
        lost = ""
        if record is not None and record.get("api_url") != self.record["api_url"]:
            lost = "the address of the API has changed since it was started"
            await self._engine.kill(thing["Id"], "SIGKILL")
        await self._store.workers.adopt(task, self.place, self.record)
        self.keep(task, thing["Id"], lost)

    # stopping ---------------------------------------------------------------------------------------------------

    async def _stop_what_must(self) -> None:
        tasks = list(self.kept)
        if not tasks:
            return
        now, stops = monotonic(), list[Any]()
        for task, state in zip(tasks, await self._store.workers.states(tasks), strict=True):
            kept = self.kept.get(task)
            if kept is None or (state.lives(task) and not state.stop and kept.stopping is None):
                continue
            kept.over = now if kept.over is None else kept.over
            if state.stop or kept.stopping is not None or now - kept.over > LINGER:
                stops.append(self._stop(kept, now))
        await asyncio.gather(*stops)

    async def _stop(self, kept: Kept, now: float) -> None:
        """Ask it to end, once; end it when its grace is over. Raises EngineError."""
        kept.stopping = now if kept.stopping is None else kept.stopping
        if now - kept.stopping >= self._grace:
            await self._engine.kill(kept.id, "SIGKILL")
        elif not kept.asked:
            await self._engine.kill(kept.id, "SIGTERM")
            kept.asked = True


def _task(thing: dict[str, Any]) -> Task | None:
    """The launch of a listed container; None for what only looks like one of ours."""
    try:
        return Task.parse(str(thing["Labels"][TASK]))
    except (KeyError, TypeError, ValueError):
        return None
