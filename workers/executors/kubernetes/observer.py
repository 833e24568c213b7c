"""What becomes of the launches: the one worker that leads watches Jobs, pods and events and tells the engine.

What it tells are facts that count once: that a launch runs, why it does not, how it ended, that the cluster took its pod away.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import Any

import structlog

from app.core.attempts import INFRA_BUDGET
from app.core.placement import KUBERNETES
from app.core.signals import Signal, exit_of
from app.core.tasks import Task, split_ref
from app.errors import NotFound
from app.store.store import Store
from workers.executors.base import Report
from workers.executors.kubernetes import reasons
from workers.executors.kubernetes.client import (
    EVENTS,
    JOBS,
    PODS,
    Cluster,
)
from workers.executors.kubernetes.known import Known
from workers.executors.kubernetes.stopper import Stopper
from workers.executors.kubernetes.watch import Watch
from workers.executors.naming import INSTANCE, MANAGED, TASK, label, launch_name

log = structlog.get_logger("headrace.kubernetes")

HOST = KUBERNETES
"""Where the launches of a cluster are recorded, in place of a machine's name."""
AT_ONCE = 500
"""Launches that the store is asked about in one call."""
PODS_FIRST = 10.0
"""Seconds for which the first list of Jobs waits for that of pods at most."""
REPEAT = 10.0
"""Seconds after which it is said again that a launch is without its pod, which stands for its heartbeat."""
SLACK_MS = 2_000
"""How much older than its admission a Job may seem: its times are whole seconds, by another clock."""


class Observer:
    """One per leader: it begins with lists, so it knows everything that the one before it knew."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        worker: str,
        prefix: str,
        report: Report,
        *,
        force_release: float = 0,
    ) -> None:
        """`force_release`: seconds that a pod which should be gone may go unconfirmed; 0: for ever."""
        self._store = store
        self._cluster = cluster
        self._worker = worker
        self._prefix = prefix
        self._report = report
        self._force_release = force_release
        self.known: dict[Task, Known] = {}
        self._by_uid: dict[str, Task] = {}
        """Launches by the UIDs of their Jobs: refusals come in thousands, and name nothing else."""
        self._news: set[Task] = set()
        self._recorded: set[Task] = set()
        self._pods_listed = asyncio.Event()

    async def run(self) -> None:
        """Watch, tell and stop, for ever."""
        cluster = self._cluster
        ours = {"labelSelector": f"{MANAGED}=headrace,{INSTANCE}={label(self._prefix)}"}
        refusals = {"fieldSelector": "involvedObject.kind=Job,reason=FailedCreate"}
        watches = (
            Watch(cluster, cluster.url(JOBS, "jobs"), ours, self._note_recorded, self._jobs, self._job),
            Watch(cluster, cluster.url(PODS, "pods"), ours, _nothing, self._pods, self._pod),
            Watch(cluster, cluster.url(EVENTS, "events"), refusals, _nothing, self._events, self._event),
        )
        async with asyncio.TaskGroup() as group:
            for watch in watches:
                group.create_task(watch.run())
            group.create_task(Stopper(self._store, cluster, self.known, self._judge).run())

    def has(self, task: Task) -> bool:
        """Whether its Job is there, as far as we have heard."""
        known = self.known.get(task)
        return known is not None and bool(known.job)

    def take_news(self) -> set[Task]:
        """The launches of whose Jobs and pods something was heard since the last call; of those that are gone too."""
        news, self._news = self._news, set()
        return news

    # Jobs -------------------------------------------------------------------------------------------------------

    def _task(self, thing: dict[str, Any]) -> Task | None:
        """The launch of a Job or pod of ours; None for what only looks like one."""
        metadata = thing.get("metadata") or {}
        try:
            task = Task.parse(str(metadata["annotations"][TASK]))
        except (KeyError, TypeError, ValueError):
            return None
        owner = next((each["name"] for each in metadata.get("ownerReferences") or []), metadata["name"])
        return task if owner == launch_name(self._prefix, task) else None

    async def _note_recorded(self) -> None:
        """What is recorded to run before the list is made: without a Job in it, the Job was deleted.

        The list waits for that of the pods: of each Job that has ended before its pods are known they are asked for.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(PODS_FIRST):
                await self._pods_listed.wait()
        self._recorded = set(await self._store.workers.processes(HOST))

    async def _jobs(self, things: list[dict[str, Any]]) -> None:
        listed = {task: thing for thing in things if (task := self._task(thing)) is not None}
        for task in (self._recorded | self.known.keys()) - listed.keys():
            if task in self._recorded or self.has(task):
                await self._gone(task)
        long_over = await self._long_over(listed)
        for task, thing in listed.items():
            if task in long_over:
                known = self._note(task, thing)
                known.told, known.told_at = True, monotonic()
                self._news.add(task)
            else:
                await self._job("MODIFIED", thing)

    async def _long_over(self, listed: dict[Task, dict[str, Any]]) -> set[Task]:
        """Of Jobs that are new to us those that have ended and of whose ends the store knows: there are thousands of them, and
        what is told of each anew holds up those whose ends nobody has told."""
        found: set[Task] = set()
        ended = [task for task, thing in listed.items() if not self.has(task) and reasons.job_over(thing)]
        for at in range(0, len(ended), AT_ONCE):
            some = ended[at : at + AT_ONCE]
            states = await self._store.workers.states(some)
            found |= {task for task, state in zip(some, states, strict=True) if not state.lives(task)}
        for task in found & self._recorded:
            await self._store.workers.forget_process(task, HOST)
        return found

    def _note(self, task: Task, thing: dict[str, Any]) -> Known:
        """A Job as it is now."""
        known = self.known.setdefault(task, Known())
        self._by_uid.pop(known.uid, None)
        known.job = reasons.slim(thing)
        self._by_uid[known.uid] = task
        return known

    async def _job(self, kind: str, thing: dict[str, Any]) -> None:
        task = self._task(thing)
        if task is None:
            return
        if kind == "DELETED":
            await self._gone(task)
            return
        await self._judge(task, self._note(task, thing))

    async def _gone(self, task: Task) -> None:
        """Its Job was deleted: by us, by its TTL, or by hand."""
        known = self.known.pop(task, None)
        self._news.add(task)
        if known is not None:
            self._by_uid.pop(known.uid, None)
        if known is None or not known.told:
            await self._tell(task, reasons.gone(task), silent=known is not None and known.silent)

    # pods -------------------------------------------------------------------------------------------------------

    async def _pods(self, things: list[dict[str, Any]]) -> None:
        present = {thing["metadata"]["uid"] for thing in things}
        for task, known in list(self.known.items()):
            missing = [uid for uid in known.pods if uid not in present]
            for uid in missing:
                self._forget(task, known, uid)
            if missing:
                await self._judge(task, known)
        for thing in things:
            await self._pod("MODIFIED", thing)
        self._pods_listed.set()

    async def _pod(self, kind: str, thing: dict[str, Any]) -> None:
        task = self._task(thing)
        if task is None:
            return
        known, uid = self.known.get(task), thing["metadata"]["uid"]
        if kind == "DELETED":
            if known is None:
                return
            if known.job:
                known.pods[uid] = reasons.slim(thing)
            self._forget(task, known, uid)
        else:
            known = known or self.known.setdefault(task, Known())
            known.pods[uid] = reasons.slim(thing)
        await self._judge(task, known)

    def _forget(self, task: Task, known: Known, uid: str) -> None:
        """A pod is there no more: how it ended stays known, as long as its Job is there."""
        if not known.job:
            self.known.pop(task, None)
        elif uid in known.pods and not reasons.started(known.pods[uid]):
            del known.pods[uid]
        else:
            known.gone.add(uid)

    # events -----------------------------------------------------------------------------------------------------

    async def _events(self, things: list[dict[str, Any]]) -> None:
        for thing in things:
            await self._event("MODIFIED", thing)

    async def _event(self, kind: str, thing: dict[str, Any]) -> None:
        uid = (thing.get("involvedObject") or {}).get("uid")
        if kind == "DELETED" or not uid:
            return
        task = self._by_uid.get(uid)
        known = self.known.get(task) if task is not None else None
        if task is not None and known is not None and not known.telling():
            known.refusal = str(thing.get("message") or "")
            await self._judge(task, known)

    # telling ----------------------------------------------------------------------------------------------------

    async def _judge(self, task: Task, known: Known) -> None:
        """Say what is new about a launch, each thing once. Raises StoreUnavailable, ClusterError."""
        self._news.add(task)
        async with known.lock:
            if known.told or not known.job:
                return
            end = reasons.ended(task, known.job, known.telling())
            if end is not None and not any(reasons.over(pod) for pod in known.pods.values()):
                # the Job's watch was ahead of the pods': how it ended stands in the pod
                await self._fetch_pods(known)
                self._news.add(task)
                end = reasons.ended(task, known.job, known.telling())
            if not known.launched and any(reasons.started(pod) for pod in known.pods.values()):
                await self._launched(task, known)
            if end is None:
                end = await self._disrupted(task, known) or await self._hindered(task, known)
            if end is not None:
                await self._tell(task, await self._dated(task, known, end), silent=known.silent)
                known.told, known.told_at = True, monotonic()

    async def _fetch_pods(self, known: Known) -> None:
        """Raises ClusterError."""
        params = {"labelSelector": f"batch.kubernetes.io/controller-uid={known.job['metadata']['uid']}"}
        found = await self._cluster.call("GET", self._cluster.url(PODS, "pods"), params=params)
        known.pods.update({pod["metadata"]["uid"]: reasons.slim(pod) for pod in found.get("items") or []})

    async def _launched(self, task: Task, known: Known) -> None:
        found = await self._store.workers.versions([task.run])
        if task.run in found:
            with suppress(NotFound):  # a version that was removed with its run
                graph = await self._store.graphs.get(*found[task.run])
                run_ms = graph.node(split_ref(task.ref)[0]).timeouts.run_ms
                record = {"worker": self._worker, "job": known.job["metadata"]["name"]}
                await self._store.workers.launched(task, HOST, run_ms, record)
        known.launched = True

    async def _disrupted(self, task: Task, known: Known) -> Signal | None:
        """Count the pods that were taken away from a launch that goes on; its end where those are too many."""
        for uid, pod in list(known.pods.items()):
            ended = uid in known.gone or reasons.over(pod)
            if uid in known.counted or not (ended and reasons.disrupted(pod) and reasons.started(pod)):
                continue
            count = await self._store.hindrances.disrupted(task, uid)
            known.counted.add(uid)
            log.info("a pod was taken away", task=task.encode(), count=count)
            if count + task.launch > INFRA_BUDGET:
                known.given_up = True
                return exit_of(task, type="lost", message=f"{count} of its pods were taken away", infra=True)
        return None

    async def _hindered(self, task: Task, known: Known) -> Signal | None:
        """Say why a launch does not run, when that is new or stands for its heartbeat; its end where nobody waits any longer
        for the word of its machine. Of one that must stop what was said stays said, but for its machine."""
        now = await self._store.workers.now() if known.leaving() else 0
        found = reasons.hindrance(known.telling(), known.refusal, now)
        known.silent = found is not None and found.reason in reasons.MACHINE
        late = found is not None and found.reason == reasons.OVERDUE
        if not late and (known.deleted or known.job["metadata"].get("deletionTimestamp")):
            return None
        again = found is not None and known.launched and monotonic() - known.told_at > REPEAT
        if found != known.hindrance or again:
            told = found or reasons.Waiting("")
            now = now or await self._store.workers.now()
            known.since = await self._store.hindrances.tell(task, told.reason, told.message, now)
            known.hindrance, known.told_at = found, monotonic()
        if not (late and known.since and 0 < self._force_release * 1000 <= now - known.since):
            return None
        log.warning("a machine is lost; its launch is given up", task=task.encode())
        known.given_up = True
        return reasons.released(task, self._force_release)

    async def _dated(self, task: Task, known: Known, end: Signal) -> Signal:
        """The end of a launch; one that was made before the store's present state admitted it has lost its checkpoints."""
        if end.infra or end.output is not None:
            return end
        admitted = await self._store.workers.admitted(task)
        made = reasons.created_ms(known.job)
        if admitted is None or made is None or made + SLACK_MS > admitted:
            return end
        text = "the store was set back to before this launch; its checkpoints are lost"
        return exit_of(task, code=end.code, type="lost", message=text, infra=True)

    async def _tell(self, task: Task, end: Signal, *, silent: bool) -> None:
        """`silent`: nothing was heard of its machine before."""
        await self._report(task.run, reasons.of_lost_machine(end) if silent else end)
        await self._store.workers.forget_process(task, HOST)


async def _nothing() -> None:
    return
