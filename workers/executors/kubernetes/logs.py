"""Logs, then TTL: the log of every launch is archived and verified before its Job may be removed (M17, B7).

While pods run their logs are received in parts, so that they can be read meanwhile and outlive their pods. When a launch is
over and all of it was received, the archived object is made, read back and compared, and only then the Job gets its TTL.
What is lost (a pod gone before it was read) is said in the log, the Job is annotated `truncated`, and its TTL is set.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import structlog

from app.core.tasks import Task
from app.errors import HeadraceError
from app.joblogs import JobLog
from app.objects import Objects
from app.settings import Settings
from workers.executors.kubernetes import reasons
from workers.executors.kubernetes.client import CONFLICT, MISSING, Cluster, ClusterError
from workers.executors.kubernetes.known import Known
from workers.executors.kubernetes.observer import Observer
from workers.executors.kubernetes.tail import Tail, pod_key
from workers.executors.rate import Backoff

log = structlog.get_logger("headrace.logs")

LOOK = 0.5
"""Seconds between looks for pods whose logs are to be read, and for launches that are over."""
LIVE = 64
"""Connections for the logs of pods that run. Further ones are read when they have ended."""
ENDED = 16
"""Connections for the logs of pods that have ended, and launches that are archived at a time."""
LOGS = "headrace.dev/logs"
"""Annotation of a Job: archived, truncated, or none where no container of it ever ran."""
_RUN = re.compile(r"r[0-9a-f]{24}")


@dataclass(slots=True)
class Keeping:
    """What is being done about the logs of one launch."""

    known: Known
    log: JobLog
    tails: dict[str, asyncio.Task[bool]] = field(default_factory=dict[str, asyncio.Task[bool]])
    """By the UID of its pod; the result says whether all of it was received."""
    live: set[str] = field(default_factory=set[str])
    """Pods whose tails took a connection for those that run."""
    idle: set[str] = field(default_factory=set[str])
    """Pods whose tails wait until they may try again: they hold no place."""
    archiving: asyncio.Task[bool] | None = None
    """The result says whether the launch is dealt with."""
    again: float = 0.0
    """monotonic() from which on archiving is tried again: until then it holds no place."""
    backoff: Backoff = field(default_factory=lambda: Backoff(1.0, 60.0))


class LogKeeper:
    """One per leader, beside its observer."""

    def __init__(self, cluster: Cluster, observer: Observer, settings: Settings) -> None:
        self._cluster = cluster
        self._observer = observer
        self._objects = Objects(settings.logs_at)
        self._ttl = settings.kubernetes_ttl
        self._cap = settings.kubernetes_log_cap
        self._kept: dict[Task, Keeping] = {}
        self._done: set[Task] = set()
        """Dealt with, though the watch may not have told of it yet; until their Jobs are gone."""

    async def run(self) -> None:
        """Look after the logs, for ever; what is begun ends with it, and is taken up from the parts by another."""
        try:
            while True:
                self._look()
                await asyncio.sleep(LOOK)
        finally:
            tasks: list[asyncio.Task[Any]] = [
                task
                for kept in self._kept.values()
                for task in (*kept.tails.values(), kept.archiving)
                if task
            ]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _look(self) -> None:
        for task in self._observer.take_news():
            self._note(task)
        live, ended, archiving = self._counts()
        for task, kept in list(self._kept.items()):
            live, ended = self._begin_tails(task, kept, live, ended)
            if kept.archiving is not None:
                self._look_at_archiving(task, kept, kept.archiving)
            elif settled(kept.known.job):
                self._dealt_with(task, kept)  # by another, who may be removing the parts just now
            elif kept.again > monotonic():
                continue
            elif self._past_cap(kept.known.job):
                kept.archiving = asyncio.create_task(self._give_up(task, kept))
            elif archiving < ENDED and self._over(task, kept):
                kept.archiving = asyncio.create_task(self._archive(task, kept))
                archiving += 1

    def _note(self, task: Task) -> None:
        """Begin to keep the log of a launch about which something was told, once there may be one: thousands that wait for
        their pods cost nothing."""
        known = self._observer.known.get(task)
        if known is None:
            self._done.discard(task)
        elif known.job and task not in self._kept and task not in self._done and _RUN.fullmatch(task.run):
            begun = finished(known.job) or any(reasons.started(pod) for pod in known.pods.values())
            if begun and not settled(known.job):
                self._kept[task] = Keeping(known, JobLog(self._objects, *task))

    def _look_at_archiving(self, task: Task, kept: Keeping, archiving: asyncio.Task[bool]) -> None:
        if not archiving.done():
            return
        if archiving.result():
            self._dealt_with(task, kept)
        else:
            kept.archiving = None
            kept.again = monotonic() + kept.backoff.next()

    def _dealt_with(self, task: Task, kept: Keeping) -> None:
        for tail in kept.tails.values():
            tail.cancel()
        self._done.add(task)
        del self._kept[task]

    def _counts(self) -> tuple[int, int, int]:
        """Tails of pods that ran when they began, other tails, and archives that go on."""
        live = ended = archiving = 0
        for kept in self._kept.values():
            going = [uid for uid, tail in kept.tails.items() if not tail.done() and uid not in kept.idle]
            live += len(kept.live.intersection(going))
            ended += len(set(going) - kept.live)
            archiving += kept.archiving is not None and not kept.archiving.done()
        return live, ended, archiving

    def _begin_tails(self, task: Task, kept: Keeping, live: int, ended: int) -> tuple[int, int]:
        for uid, pod in kept.known.pods.items():
            if uid in kept.tails or not reasons.started(pod):
                continue
            over = self._pod_over(kept.known, uid)
            if live >= LIVE and not (over and ended < ENDED):
                continue
            if live < LIVE:
                kept.live.add(uid)
                live += 1
            else:
                ended += 1
            kept.tails[uid] = asyncio.create_task(self._tail(task, kept, uid, pod))
        return live, ended

    @staticmethod
    def _pod_over(known: Known, uid: str) -> bool:
        return uid in known.gone or reasons.over(known.pods[uid])

    async def _tail(self, task: Task, kept: Keeping, uid: str, pod: dict[str, Any]) -> bool:
        """Read one pod's log to its end, however often the place for it is away."""

        def idle(yes: bool) -> None:
            (kept.idle.add if yes else kept.idle.discard)(uid)

        name, key = pod["metadata"]["name"], pod_key(pod)
        backoff, lost = Backoff(0.5, 30.0), False
        while True:
            tail = Tail(
                self._cluster, kept.log, name, key, lambda: self._pod_over(kept.known, uid), idle
            )  # anew: what was not written is received again
            try:
                return await tail.run() and not lost
            except Exception as error:
                _tell("a log cannot be kept now; its Job stays", task, error)
                lost = lost or tail.lost
                idle(True)
                await asyncio.sleep(backoff.next())
                idle(False)

    def _over(self, task: Task, kept: Keeping) -> bool:
        """Whether a launch is over and what there was of its logs was received."""
        gone = task not in self._observer.known
        if not gone and not finished(kept.known.job):
            return False
        return all(tail.done() for tail in kept.tails.values()) and (
            gone or all(uid in kept.tails or not reasons.started(pod) for uid, pod in kept.known.pods.items())
        )

    # archiving --------------------------------------------------------------------------------------------------

    async def _archive(self, task: Task, kept: Keeping) -> bool:
        """Archive, verify, then set the TTL. False where that must be tried again: it never holds up the other launches."""
        try:
            state = await self._write(kept)
            await self._set_ttl(kept.known.job, state)
        except Exception as error:
            _tell("a log cannot be archived now; its Job stays", task, error)
            return False
        log.info("log archived", task=task.encode(), state=state)
        if state != "none":
            await self._clear(task, kept)
        return True

    async def _clear(self, task: Task, kept: Keeping) -> None:
        """Remove the parts. Nothing is archived again where that fails: what is left of them is not the whole log.

        They are needless then, and go with the logs of their run.
        """
        try:
            await kept.log.clear_parts()
        except Exception as error:
            _tell("parts of an archived log remain", task, error)

    async def _write(self, kept: Keeping) -> str:
        """archived, truncated or none. Raises Unavailable."""
        parts = await kept.log.parts()
        whole = all(tail.result() for tail in kept.tails.values())
        ran = bool(kept.tails) or bool(parts)
        if not ran and await kept.log.archived() is not None:
            return "archived"  # by another, who died before it could set the TTL
        if not ran and not _failed(kept.known.job) and finished(kept.known.job):
            whole = ran = False  # it succeeded, so a pod ran: it was gone before anyone could read it
            await kept.log.archive("the log is lost: the pod was gone before it could be read")
            return "truncated"
        if not ran:
            return "none"
        await kept.log.archive(
            "" if whole else "the log may have gaps or end early: its machine had no more of it"
        )
        return "archived" if whole else "truncated"

    async def _set_ttl(self, job: dict[str, Any], state: str) -> None:
        change = {
            "metadata": {"annotations": {LOGS: state}, "uid": job["metadata"]["uid"]},
            "spec": {"ttlSecondsAfterFinished": self._ttl},
        }
        name = job["metadata"]["name"]
        try:
            await self._cluster.patch_job(name, change)
        except ClusterError as error:
            if error.http_status == CONFLICT and await self._is_there(name, job["metadata"]["uid"]):
                raise  # it was changed meanwhile, more often than the server tries it again
            if error.http_status not in (MISSING, CONFLICT):
                raise

    async def _is_there(self, name: str, uid: str) -> bool:
        """Whether a Job is still the one that is meant. Raises ClusterError."""
        try:
            return (await self._cluster.get_job(name))["metadata"]["uid"] == uid
        except ClusterError as error:
            if error.http_status == MISSING:
                return False
            raise

    def _past_cap(self, job: dict[str, Any]) -> bool:
        ended = finished(job)
        return ended is not None and (datetime.now(UTC) - ended).total_seconds() > self._cap

    async def _give_up(self, task: Task, kept: Keeping) -> bool:
        """Let the Job go without its whole log. False where that must be tried again."""
        log.error("a log was given up after the cap", task=task.encode())
        try:
            await self._set_ttl(kept.known.job, "truncated")
        except Exception as error:
            _tell("a Job stays", task, error)
            return False
        return True


def _tell(event: str, task: Task, error: Exception) -> None:
    """A failure of ours in one line; one that nobody foresaw with where it comes from."""
    if isinstance(error, HeadraceError):
        log.error(event, task=task.encode(), reason=error.message)
    else:
        log.error(event, task=task.encode(), exc_info=error)


def finished(job: dict[str, Any]) -> datetime | None:
    """When a Job ended; None while it goes on."""
    for each in (job.get("status") or {}).get("conditions") or []:
        if each.get("type") in ("Complete", "Failed") and each.get("status") == "True":
            try:
                return datetime.fromisoformat(str(each.get("lastTransitionTime")))
            except ValueError:
                return datetime.now(UTC)
    return None


def _failed(job: dict[str, Any]) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(each.get("type") == "Failed" and each.get("status") == "True" for each in conditions)


def settled(job: dict[str, Any]) -> bool:
    """Whether the logs of a Job were dealt with before."""
    return (
        LOGS in (job["metadata"].get("annotations") or {})
        and (job.get("spec") or {}).get("ttlSecondsAfterFinished") is not None
    )
