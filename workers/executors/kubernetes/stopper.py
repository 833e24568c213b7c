"""Stops what must stop: Jobs of attempts that are over or cancelled; keeps alive the submissions whose pods do not run yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic

import structlog

from app.core.tasks import Task
from app.errors import StoreUnavailable
from app.store.store import Store
from app.store.workers import NodeState
from workers.executors.base import LINGER
from workers.executors.kubernetes import reasons
from workers.executors.kubernetes.client import TOO_MANY, Cluster, ClusterError, Unreachable
from workers.executors.kubernetes.known import Known

log = structlog.get_logger("headrace.kubernetes")

RECONCILE = 1.0
"""Seconds between looks at what must be stopped, and at what still waits for its pod."""
AT_ONCE = 500
"""Launches that one such look asks the store about; more take turns."""
RENEWAL, RENEWED_FOR = 10.0, 30.0
"""Seconds between renewals of the submissions whose pods do not run yet, and for which they are renewed: thousands may wait for
room in the cluster, and a worker that takes one up finds its Job there."""
REPEAT = 10.0
"""Seconds after which an end is told again that the store does not know."""
STRAY = 10.0
"""Seconds for which a Job is left alone whose node run the store does not know: one that was set back may be about to start its
run again, and then the Job is adopted."""


class Stopper:
    """Of one leader: what it knows of the launches, against what the store says of them."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        known: Mapping[Task, Known],
        judge: Callable[[Task, Known], Awaitable[None]],
    ) -> None:
        """`judge` says what is new about a launch."""
        self._store = store
        self._cluster = cluster
        self._known = known
        self._judge = judge
        self._turn = 0

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self.reconcile()
            except (StoreUnavailable, ClusterError) as error:
                log.warning("Jobs cannot be stopped now", reason=error.message)
            await asyncio.sleep(RECONCILE)

    async def reconcile(self) -> None:
        """Delete the Jobs that must stop; keep the submissions of those whose pod does not run yet.

        Raises StoreUnavailable, ClusterError.
        """
        now = monotonic()
        going: list[Task] = []
        ended: list[Task] = []
        due: list[tuple[Task, Known]] = []
        for task, known in self._known.items():
            if known.told:
                ended.append(task)
            elif known.job and (not known.deleted or known.leaving()):
                going.append(task)
                if not (known.launched or known.deleted) and now - known.renewed > RENEWAL:
                    due.append((task, known))
        await self._store.workers.renew_launches([task for task, _ in due], RENEWED_FOR)
        for _, known in due:
            known.renewed = now
        tasks = [*self._some(going, AT_ONCE), *self._some(ended, AT_ONCE // 10)]
        if tasks:
            for task, state in zip(tasks, await self._store.workers.states(tasks), strict=True):
                await self._settle_apart(task, state, now)

    def _some(self, tasks: list[Task], most: int) -> list[Task]:
        """Those whose turn it is."""
        if len(tasks) <= most:
            return tasks
        self._turn += most
        first = self._turn % len(tasks)
        return [*tasks, *tasks][first : first + most]

    async def _settle_apart(self, task: Task, state: NodeState, now: float) -> None:
        """Settle it; what the cluster refuses of one launch holds up no other. Raises StoreUnavailable, and ClusterError
        where the cluster has enough of all of them."""
        try:
            await self._settle(task, state, now)
        except ClusterError as error:
            if isinstance(error, Unreachable) or error.http_status == TOO_MANY:
                raise
            log.warning("a Job cannot be stopped now", task=task.encode(), reason=error.message)

    async def _settle(self, task: Task, state: NodeState, now: float) -> None:
        """What must be done about one launch, which the store says is in such a state."""
        known = self._known.get(task)
        if known is None:
            return
        if known.deleted:
            if not known.told and known.leaving():  # perhaps its machine is lost
                await self._judge(task, known)
            return
        live = state.lives(task)
        if known.given_up:
            await self._stop(known)
            return
        if known.told:
            if (
                live and now - known.told_at > REPEAT
            ):  # the store was set back to before the end that it was told
                known.told = False
                await self._judge(task, known)
            return
        if live and not state.stop:
            known.over = None
            unheard = known.launched and not state.launched
            if unheard:  # the store was set back to before it was told that its pod runs
                known.launched = False
            if unheard or known.hindrance is not None or known.leaving():
                await self._judge(task, known)
            return
        known.over = now if known.over is None else known.over
        unknown = state.status is None
        if state.stop or now - known.over > (STRAY if unknown else LINGER) or not (known.launched or unknown):
            await self._stop(known)

    async def _stop(self, known: Known) -> None:
        """Stop its pods and take its Job away; one that has ended stays until its log is archived. Raises ClusterError."""
        if reasons.job_over(known.job):
            return
        metadata = known.job["metadata"]
        known.deleted = True
        try:
            await self._cluster.delete_job(metadata["name"], metadata["uid"])
        except ClusterError:
            known.deleted = False
            raise
