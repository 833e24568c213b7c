"""The Kubernetes executor: creates the Job of a launch, or adopts it, and tells what becomes of it.

Every worker watches all Jobs of the installation: signals are facts that count once, so who tells them does not matter,
and a worker that dies takes nothing along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import structlog

from app.core.graph import NodeDef
from app.core.nodetypes import NodeType, parse_ref
from app.core.placement import KUBERNETES, Placement
from app.core.podspec import PodSpec, Resources
from app.core.signals import Signal
from app.core.states import NODE_LIVE
from app.core.tasks import Task, split_ref
from app.errors import NotFound, StoreUnavailable, Unavailable
from app.settings import Settings
from app.store.store import Store
from workers.executors.base import Launch, Report
from workers.executors.kubernetes import reasons
from workers.executors.kubernetes.client import CONFLICT, JOBS, PODS, Cluster, ClusterError
from workers.executors.kubernetes.manifest import (
    INSTANCE,
    MANAGED,
    SPEC,
    TASK,
    Pattern,
    Stencil,
    job_name,
    label,
)
from workers.executors.kubernetes.rate import Backoff, TokenBucket
from workers.executors.kubernetes.watch import Watch

log = structlog.get_logger("headrace.kubernetes")

HOST = KUBERNETES
"""Where the launches of a cluster are recorded, in place of a machine's name."""
PLACES = 64
"""Jobs that one worker creates at a time."""
RECONCILE = 1.0
"""Seconds between looks at what must be stopped, and at what still waits for its pod."""
LINGER = 30.0
"""Seconds that a Job may go on after its attempt has ended."""


@dataclass(slots=True)
class Known:
    """A Job as the watches last told of it."""

    job: dict[str, Any]
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By UID."""
    launched: bool = False
    told: bool = False
    over: float | None = None
    """monotonic() when its attempt was first seen to be over."""
    deleted: bool = False


def quota(error: ClusterError) -> bool:
    """Whether a refusal is only that there is no room in the namespace now."""
    return error.http_status == 403 and "exceeded quota" in str(error)


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
        self._known: dict[Task, Known] = {}
        self._recorded: set[Task] = set()
        self._locks: dict[Task, asyncio.Lock] = {}
        self._submitting = 0
        self.on_free: Callable[[], None] = lambda: None

    def free(self) -> int:
        return PLACES - self._submitting

    async def _open(self) -> Cluster:
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
            self.on_free()

    async def _submit(self, launch: Launch) -> None:
        cluster, task = await self._open(), launch.task
        known = self._known.get(task)
        if known is not None and known.job:  # taken up again because its pod does not run yet
            return
        stencil = await self._stencil(launch)
        backoff = Backoff()
        while await self._live(task):
            await self._bucket.take()
            try:
                await cluster.create_job(stencil.job(task, launch.environment()))
            except ClusterError as error:
                if error.http_status == CONFLICT and await self._adopt(cluster, task, stencil):
                    return
                if not (error.passing or quota(error) or error.http_status == CONFLICT):
                    raise
                log.warning("a Job could not be created yet", task=task.encode(), reason=error.message)
                await asyncio.sleep(backoff.next(error.wait))
            else:
                return

    async def _adopt(self, cluster: Cluster, task: Task, stencil: Stencil) -> bool:
        """Whether the Job of that name is this launch's; False where it is gone again. Raises Unavailable for another."""
        try:
            found = await cluster.get_job(job_name(stencil.pattern.instance, task))
        except ClusterError as error:
            if error.http_status == 404 or error.passing:
                return False
            raise
        metadata = found["metadata"]
        if metadata.get("deletionTimestamp"):
            raise Unavailable("the Job of this launch is being deleted")
        same_task = (metadata.get("annotations") or {}).get(TASK) == task.encode()
        if not same_task or (metadata.get("labels") or {}).get(SPEC) != stencil.digest:
            raise Unavailable("another Job has the name of this launch")
        return True

    async def _live(self, task: Task) -> bool:
        [(status, attempt, launch, stop)] = await self._store.workers.states([task])
        return status in NODE_LIVE and (attempt, launch) == (task.attempt, task.launch) and not stop

    async def _stencil(self, launch: Launch) -> Stencil:
        graph, node = launch.graph, launch.node
        key = (graph.workflow, graph.version, node.name)
        found = self._stencils.get(key)
        if found is None:
            kind = await self._type(node)
            image = node.image or (kind.image if kind else None)
            if image is None:
                raise NotFound(f"nothing gives an image for {node.type}")
            pod = PodSpec(**kind.kubernetes).over(self._base) if kind else self._base
            resources = Resources(**kind.resources) if kind else Resources()
            pattern = Pattern(
                instance=self._settings.prefix, namespace=self._settings.kubernetes_namespace,
                workflow=graph.workflow, version=graph.version, node=node, image=image,
                entrypoint=tuple((kind.entrypoint if kind else None) or ()), resources=resources, pod=pod,
            )  # fmt: skip
            found = self._stencils[key] = Stencil(pattern)
        return found

    async def _type(self, node: NodeDef) -> NodeType | None:
        """The manifest on this server, else the type that came by the API; None for a node that names its image."""
        if node.type is None:
            return None
        name, version = parse_ref(node.type) or (node.type, None)
        return self._placement.manifests.get(node.type) or await self._store.node_types.get(name, version)

    # what becomes of them ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Watch Jobs and pods, and stop what must stop, for ever."""
        cluster = await self._open()
        selector = f"{MANAGED}=headrace,{INSTANCE}={label(self._settings.prefix)}"
        jobs = Watch(cluster, cluster.url(JOBS, "jobs"), selector, self._note_recorded, self._jobs, self._job)
        pods = Watch(cluster, cluster.url(PODS, "pods"), selector, _nothing, self._pods, self._pod)
        async with asyncio.TaskGroup() as group:
            group.create_task(jobs.run())
            group.create_task(pods.run())
            group.create_task(self._stop_loop(cluster))

    def _task(self, thing: dict[str, Any]) -> Task | None:
        """The launch of a Job or pod of ours; None for what only looks like one."""
        try:
            task = Task.parse(str(thing["metadata"]["annotations"][TASK]))
        except (KeyError, TypeError, ValueError):
            return None
        metadata = thing["metadata"]
        owner = next((each["name"] for each in metadata.get("ownerReferences") or []), metadata["name"])
        return task if owner == job_name(self._settings.prefix, task) else None

    async def _note_recorded(self) -> None:
        """What is recorded to run before the list is made: without a Job in it, the Job was deleted."""
        self._recorded = set(await self._store.workers.processes(HOST))

    async def _jobs(self, things: list[dict[str, Any]]) -> None:
        listed = {task: thing for thing in things if (task := self._task(thing)) is not None}
        for task in (self._recorded | self._known.keys()) - listed.keys():
            known = self._known.get(task)
            if task in self._recorded or (known is not None and known.job):
                await self._gone(task)
        for task, thing in listed.items():
            await self._job("MODIFIED", thing, task)

    async def _job(self, kind: str, thing: dict[str, Any], task: Task | None = None) -> None:
        task = task or self._task(thing)
        if task is None:
            return
        if kind == "DELETED":
            await self._gone(task)
            return
        known = self._known.setdefault(task, Known(thing))
        known.job = thing
        await self._judge(task, known)

    async def _pods(self, things: list[dict[str, Any]]) -> None:
        for task, known in list(self._known.items()):
            known.pods.clear()
            if not known.job:
                del self._known[task]
        for thing in things:
            await self._pod("MODIFIED", thing)

    async def _pod(self, kind: str, thing: dict[str, Any]) -> None:
        task = self._task(thing)
        if task is None:
            return
        known = self._known.get(task)
        if known is None:
            if kind == "DELETED":
                return
            known = self._known[task] = Known({})
        if kind == "DELETED" and not reasons.started(thing):
            known.pods.pop(thing["metadata"]["uid"], None)
        elif kind == "DELETED" and not known.job:
            self._known.pop(task, None)
        else:
            known.pods[thing["metadata"]["uid"]] = thing
        await self._judge(task, known)

    async def _judge(self, task: Task, known: Known) -> None:
        """Record that it runs, and tell its end; each once. Raises StoreUnavailable."""
        async with self._locks.setdefault(task, asyncio.Lock()):
            if known.told or not known.job:
                return
            end = reasons.ended(task, known.job, known.pods.values())
            if end is not None and not any(reasons.over(pod) for pod in known.pods.values()):
                # the Job's watch was ahead of the pods': how it ended stands in the pod
                await self._fetch_pods(known)
                end = reasons.ended(task, known.job, known.pods.values())
            if not known.launched and any(reasons.started(pod) for pod in known.pods.values()):
                await self._launched(task, known)
            if end is not None:
                await self._tell(task, end)
                known.told = True

    async def _fetch_pods(self, known: Known) -> None:
        """Raises ClusterError."""
        cluster, metadata = await self._open(), known.job["metadata"]
        params = {"labelSelector": f"batch.kubernetes.io/controller-uid={metadata['uid']}"}
        found = await cluster.call("GET", cluster.url(PODS, "pods"), params=params)
        known.pods.update({pod["metadata"]["uid"]: pod for pod in found.get("items") or []})

    async def _launched(self, task: Task, known: Known) -> None:
        found = await self._store.workers.versions([task.run])
        if task.run in found:
            with suppress(NotFound):  # a version that was removed with its run
                graph = await self._store.graphs.get(*found[task.run])
                run_ms = graph.node(split_ref(task.ref)[0]).timeouts.run_ms
                record = {"worker": self._worker, "job": known.job["metadata"]["name"]}
                await self._store.workers.launched(task, HOST, run_ms, record)
        known.launched = True

    async def _tell(self, task: Task, end: Signal) -> None:
        await self._report(task.run, end)
        await self._store.workers.forget_process(task, HOST)

    async def _gone(self, task: Task) -> None:
        """Its Job was deleted: by us, or by hand."""
        known = self._known.get(task)
        if known is None or not known.told:
            await self._tell(task, reasons.gone(task))
        self._known.pop(task, None)
        self._locks.pop(task, None)

    # stopping ---------------------------------------------------------------------------------------------------

    async def _stop_loop(self, cluster: Cluster) -> None:
        while True:
            try:
                await self._reconcile(cluster)
            except (StoreUnavailable, ClusterError) as error:
                log.warning("Jobs cannot be stopped now", reason=error.message)
            await asyncio.sleep(RECONCILE)

    async def _reconcile(self, cluster: Cluster) -> None:
        """Delete the Jobs that must stop; keep the submissions of those whose pod does not run yet."""
        tasks = [task for task, known in self._known.items() if known.job and not known.told]
        if not tasks:
            return
        now = monotonic()
        pending: list[Task] = []
        for task, (status, attempt, launch, stop) in zip(
            tasks, await self._store.workers.states(tasks), strict=True
        ):
            known = self._known.get(task)
            if known is None or known.deleted:
                continue
            if status in NODE_LIVE and (attempt, launch) == (task.attempt, task.launch) and not stop:
                known.over = None
                if not known.launched:
                    pending.append(task)
                continue
            known.over = now if known.over is None else known.over
            if stop or status is None or now - known.over > LINGER or not known.launched:
                metadata = known.job["metadata"]
                await cluster.delete_job(metadata["name"], metadata["uid"])
                known.deleted = True
        await self._store.workers.renew_launches(pending)

    async def close(self) -> None:
        """Let go: the Jobs go on, and other workers watch them."""
        if self._cluster is not None:
            await self._cluster.close()


async def _nothing() -> None:
    return
