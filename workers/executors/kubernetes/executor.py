"""The Kubernetes executor: every worker creates the Jobs of its launches, or adopts them; one of all watches them.

A Job stands for its launch by its name, so a worker that dies takes nothing along: another one finds the Job there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from time import monotonic

import structlog

from app.core.placement import Placement
from app.core.podspec import PodSpec
from app.core.signals import exit_of
from app.core.tasks import Task
from app.errors import NotFound, Unavailable
from app.settings import Settings
from app.store.store import Store
from workers.executors.base import NEVER, Launch, Report
from workers.executors.images import program_of
from workers.executors.kubernetes.client import (
    CONFLICT,
    FORBIDDEN,
    MISSING,
    UNAUTHORIZED,
    Cluster,
    ClusterError,
)
from workers.executors.kubernetes.lease import Leadership
from workers.executors.kubernetes.logs import LogKeeper
from workers.executors.kubernetes.manifest import Pattern, Stencil
from workers.executors.kubernetes.observer import Observer
from workers.executors.kubernetes.reasons import Waiting, refused
from workers.executors.naming import INSTANCE, SPEC, TASK, label, launch_name
from workers.executors.rate import Backoff, TokenBucket

log = structlog.get_logger("headrace.kubernetes")

PLACES = 64
"""Jobs that one worker creates at a time."""
MOST_STENCILS = 10_000
WORTH_A_LOOK = 16
"""Places that are free before the queue is looked at for them: a look costs about as much for one launch as for many. The few
that stay free below it are found by the dispatcher's own looks."""
DENIED = re.compile(r"denied (the )?request")
"""What admission webhooks and policies say of an object that they do not want; of rights the server says other words."""
FRESH = 1.0
"""Seconds for which it counts that the store has just admitted a launch; later it is asked again before its Job is made."""
LOOK = 1.0
"""Seconds between looks whether a launch must stop whose Job could not be created yet."""


def refusal(error: ClusterError) -> Waiting:
    """Why a Job could not be created, where it may be created later: rights that are missing are given, credentials renewed.

    Raises Unavailable where a rule of the cluster's owners denies this Job, which is no fault of the node, and NotFound
    where it never can be created.
    """
    if error.http_status == FORBIDDEN and "exceeded quota" in error.message:
        return refused(error.message)
    if error.passing or error.http_status == CONFLICT:
        return Waiting("ClusterUnavailable", error.message)
    if error.http_status == FORBIDDEN and DENIED.search(error.message):
        raise Unavailable(f"the cluster refuses the Job: {error.message}") from error
    if error.http_status in (UNAUTHORIZED, FORBIDDEN, MISSING):
        text = f"the cluster refuses the Job: {error.message}; `headrace doctor` says what is missing"
        return Waiting("ClusterUnavailable", text)
    raise NotFound(f"the cluster does not take the Job: {error.message}") from error


class KubernetesExecutor:
    def __init__(
        self, store: Store, worker: str, settings: Settings, placement: Placement, report: Report
    ) -> None:
        self._store = store
        self._worker = worker
        self._settings = settings
        self._placement = placement
        self._report = report
        self._cluster: Cluster | None = None
        self._opening = asyncio.Lock()
        self._bucket = TokenBucket(settings.kubernetes_rate, settings.kubernetes_rate)
        self._base = PodSpec.model_validate_json(settings.kubernetes_pod or "{}")
        self._stencils: dict[tuple[str, int, str], Stencil] = {}
        self._leadership: Leadership | None = None
        self._observer: Observer | None = None
        self._submitting = 0
        self.on_free: Callable[[], None] = lambda: None

    def free(self) -> int:
        return PLACES - self._submitting

    async def _open(self) -> Cluster:
        if self._cluster is not None:
            return self._cluster
        async with self._opening:
            if self._cluster is None:
                self._cluster = await Cluster.open(self._settings)
            return self._cluster

    # submitting -------------------------------------------------------------------------------------------------

    async def submit(self, launch: Launch) -> None:
        """Create the Job, or adopt the one that is there; nothing for a launch that is over. Raises HeadraceError."""
        self._submitting += 1
        try:
            await self._submit(launch)
        finally:
            self._submitting -= 1
            if self.free() >= WORTH_A_LOOK:
                self.on_free()

    async def _submit(self, launch: Launch) -> None:
        cluster, task = await self._open(), launch.task
        if self._observer is not None and self._observer.has(task):
            return  # taken up again because its pod does not run yet
        stencil = await self._stencil(launch)
        backoff, told = Backoff(), False
        live_at = launch.live_at
        while True:
            await self._bucket.take()
            if monotonic() - live_at > FRESH:
                (state,) = await self._store.workers.states([task])
                if not state.lives(task):
                    return
                if state.stop:
                    if await self._ended_unmade(cluster, launch_name(stencil.pattern.instance, task), task):
                        return
                    await asyncio.sleep(backoff.next())
                    continue
            live_at = NEVER
            try:
                await cluster.create_job(stencil.job(task, launch.environment()))
            except ClusterError as error:
                if error.http_status == CONFLICT and await self._adopt(cluster, task, stencil):
                    break
                hindrance = refusal(error)
                log.warning("a Job could not be created yet", task=task.encode(), reason=error.message)
                await self._hindered(task, hindrance)
                told = True
                await self._pause(task, backoff.next(error.wait))
            else:
                break
        if told:
            await self._hindered(task, Waiting(""))

    async def _ended_unmade(self, cluster: Cluster, name: str, task: Task) -> bool:
        """Tell the end of a launch that must stop and has no Job, which no watch can tell. False where nobody knows now
        whether there is one; of one that is there the watch tells the end."""
        try:
            await cluster.get_job(name)
        except ClusterError as error:
            if error.http_status != MISSING:
                log.warning("a Job cannot be looked for", task=task.encode(), reason=error.message)
                return False
            message = "it had to stop before its Job was made"
            await self._report(task.run, exit_of(task, type="lost", message=message, infra=True))
        return True

    async def _pause(self, task: Task, seconds: float) -> None:
        """Wait for the next try, but no longer than until the launch must stop."""
        until = monotonic() + seconds
        while await self._store.workers.goes_on(task):
            left = until - monotonic()
            if left <= 0:
                return
            await asyncio.sleep(min(left, LOOK))

    async def _hindered(self, task: Task, told: Waiting) -> None:
        now = await self._store.workers.now()
        await self._store.hindrances.tell(task, told.reason, told.message, now)

    async def _adopt(self, cluster: Cluster, task: Task, stencil: Stencil) -> bool:
        """Whether the Job of that name is this launch's; False where it is gone again. Raises Unavailable for another.

        It is adopted as it was made, though a worker with other settings would make another one now: the name stands for
        the launch, and a second Job beside it would run it twice.
        """
        try:
            found = await cluster.get_job(launch_name(stencil.pattern.instance, task))
        except ClusterError as error:
            if error.http_status != MISSING:
                refusal(error)
            return False
        metadata = found["metadata"]
        if metadata.get("deletionTimestamp"):
            raise Unavailable("the Job of this launch is being deleted")
        labels = metadata.get("labels") or {}
        same_task = (metadata.get("annotations") or {}).get(TASK) == task.encode()
        if not same_task or labels.get(INSTANCE) != label(stencil.pattern.instance):
            raise Unavailable("another Job has the name of this launch")
        if labels.get(SPEC) != stencil.digest:
            log.warning(
                "a Job was adopted that other settings made", task=task.encode(), job=metadata["name"]
            )
        return True

    async def _stencil(self, launch: Launch) -> Stencil:
        graph, node = launch.graph, launch.node
        key = (graph.workflow, graph.version, node.name)
        found = self._stencils.get(key)
        if found is None:
            image, entrypoint, resources, pod = await program_of(node, self._placement, self._store)
            pattern = Pattern(
                instance=self._settings.prefix, namespace=self._settings.kubernetes_namespace,
                workflow=graph.workflow, version=graph.version, node=node, image=image, entrypoint=entrypoint,
                resources=resources, pod=pod.over(self._base),
            )  # fmt: skip
            if len(self._stencils) >= MOST_STENCILS:
                self._stencils.clear()
            found = self._stencils[key] = Stencil(pattern)
        return found

    # what becomes of them ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Watch the cluster whenever this worker is the one that does, for ever."""
        cluster = await self._open()
        name = f"headrace-{label(self._settings.prefix).lower().replace('_', '-')}"
        self._leadership = Leadership(cluster, name, self._worker)
        await self._leadership.lead(self._observe)

    async def _observe(self) -> None:
        cluster = await self._open()
        observer = Observer(
            self._store, cluster, self._worker, self._settings.prefix, self._report,
            force_release=self._settings.force_release_after,
        )  # fmt: skip
        self._observer = observer
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(observer.run())
                group.create_task(LogKeeper(cluster, observer, self._settings).run())
        finally:
            self._observer = None

    async def close(self) -> None:
        """Let go: the Jobs go on, and other workers watch them."""
        if self._leadership is not None:
            await self._leadership.release()
        if self._cluster is not None:
            await self._cluster.close()
