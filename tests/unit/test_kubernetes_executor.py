"""How a launch gets its Job, or comes to its end without one, whatever the API server answers (M10, M16, B3)."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import Any, cast

import orjson
import pytest

from app.core.graph import compile_graph
from app.core.placement import Placement
from app.core.signals import Signal, exit_of
from app.core.states import NodeStatus
from app.core.tasks import Task
from app.errors import Unavailable
from app.settings import Settings
from app.store.workers import Lived, NodeState
from workers.executors.base import NEVER, Launch
from workers.executors.kubernetes import executor as module
from workers.executors.kubernetes.client import Cluster, ClusterError, Unreachable
from workers.executors.kubernetes.executor import FRESH, KubernetesExecutor
from workers.executors.naming import INSTANCE
from workers.executors.naming import TASK as TASK_NAME
from workers.executors.rate import Backoff

TASK = Task("r1", "work", 1, 0)
GRAPH = compile_graph({"name": "shop", "nodes": {"work": {"image": "x:1"}}}, version=1)
MISSING = ClusterError(404, "NotFound", "no such Job")
FULL = ClusterError(403, "Forbidden", "exceeded quota: small")
STARTING = NodeState(NodeStatus.STARTING, 1, 0, "", launched=False)
OVER = NodeState(NodeStatus.CANCELLED, 1, 0, "", launched=False)
MUST_STOP = NodeState(NodeStatus.STARTING, 1, 0, "cancelled", launched=False)


class Server:
    """An API server that refuses as long as it has something to refuse with."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.creating: deque[ClusterError] = deque()
        self.getting: deque[ClusterError] = deque()
        self.asked = 0
        """To create a Job."""
        self.looked = 0

    async def create_job(self, body: bytes) -> None:
        self.asked += 1
        if self.creating:
            raise self.creating.popleft()
        job = orjson.loads(body)
        name = job["metadata"]["name"]
        if name in self.jobs:
            raise ClusterError(409, "AlreadyExists", "it is there")
        self.jobs[name] = job

    async def get_job(self, name: str) -> dict[str, Any]:
        self.looked += 1
        if self.getting:
            raise self.getting.popleft()
        if name not in self.jobs:
            raise MISSING
        return self.jobs[name]


class Store:
    """What the engine says of the launch."""

    def __init__(self) -> None:
        self.workers = self.hindrances = self
        self.state = STARTING
        self.after_hindrance = STARTING
        """Its state once something was told that hinders it."""
        self.told: list[str] = []
        self.asked = 0
        """What state a launch is in."""

    async def states(self, _tasks: list[Task]) -> list[NodeState]:
        self.asked += 1
        return [self.state]

    async def goes_on(self, task: Task) -> bool:
        return self.state.lives(task) and not self.state.stop

    async def now(self) -> int:
        return 0

    async def tell(self, _task: Task, code: str, _detail: str, _now: int) -> bool:
        self.told.append(code)
        self.state = self.after_hindrance
        return True


class Desk:
    """An executor, what it asks and what it told."""

    def __init__(self) -> None:
        self.server = Server()
        self.store = Store()
        self.ends: list[Signal] = []

    async def _report(self, run: str, signal: Signal, lived: Lived | None = None) -> None:
        self.ends.append(signal)

    async def submit(self, live_at: float = NEVER, **settings: Any) -> None:
        """As another worker with these settings would."""
        ours = Settings(prefix="hr", **settings)
        placement = Placement.parse("kubernetes", "*", {})
        executor = KubernetesExecutor(cast("Any", self.store), "w1", ours, placement, self._report)
        async with asyncio.timeout(20):
            await executor.submit(Launch(TASK, GRAPH, GRAPH.node("work"), dict, live_at))


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk()

    async def opened(_settings: Settings) -> Any:
        return made.server

    monkeypatch.setattr(Cluster, "open", opened)
    monkeypatch.setattr(module, "Backoff", lambda: Backoff(0.01, 0.01))
    return made


def is_told_lost(desk: Desk) -> bool:
    message = "it had to stop before its Job was made"
    return desk.ends == [exit_of(TASK, type="lost", message=message, infra=True)]


async def test_a_launch_that_must_stop_before_its_job_could_be_made_ends(desk: Desk):
    """There is no Job, so no watch will tell of its end."""
    desk.server.creating.append(FULL)
    desk.store.after_hindrance = MUST_STOP
    await desk.submit()
    assert is_told_lost(desk)
    assert desk.server.jobs == {}


async def test_a_launch_that_must_stop_when_it_is_taken_up_again_ends(desk: Desk):
    """Its worker died before it made the Job."""
    desk.store.state = MUST_STOP
    await desk.submit()
    assert is_told_lost(desk)


async def test_a_launch_that_was_just_admitted_gets_its_job_without_another_question(desk: Desk):
    await desk.submit(live_at=monotonic())
    assert (len(desk.server.jobs), desk.store.asked) == (1, 0)


@pytest.mark.parametrize("live_at", [NEVER, monotonic() - FRESH - 1], ids=["taken over", "held up"])
async def test_a_launch_that_is_over_gets_no_job(desk: Desk, live_at: float):
    """Rule 12: between its admission and its Job its worker was held up, or died."""
    desk.store.state = OVER
    await desk.submit(live_at)
    assert (desk.server.asked, desk.store.asked) == (0, 1)


async def test_before_each_further_try_the_store_is_asked(desk: Desk):
    """However fresh the admission was: the cluster may have refused the first try after a long while."""
    desk.server.creating.append(FULL)
    desk.store.after_hindrance = OVER
    await desk.submit(live_at=monotonic())
    assert desk.server.asked == 1


async def test_the_end_of_a_launch_that_has_its_job_is_left_to_the_watch(desk: Desk):
    await desk.submit()
    desk.store.state = MUST_STOP
    await desk.submit()
    assert desk.server.looked == 1
    assert desk.ends == []


async def test_while_nobody_knows_whether_there_is_a_job_no_end_is_told(desk: Desk):
    desk.store.state = MUST_STOP
    desk.server.getting.extend([Unreachable(), ClusterError(500, "InternalError", "no")])
    await desk.submit()
    assert desk.server.looked == 3
    assert is_told_lost(desk)


async def test_a_launch_that_must_stop_does_not_wait_as_long_as_the_server_asked(desk: Desk):
    desk.server.creating.append(ClusterError(429, "TooManyRequests", "later", 3600.0))
    desk.store.after_hindrance = MUST_STOP
    await desk.submit()
    assert is_told_lost(desk)


async def test_a_job_that_other_settings_made_is_adopted_as_it_is(desk: Desk):
    """A roll-out that changes images or pods takes workers with the old settings away while their Jobs go on."""
    await desk.submit(kubernetes_pod='{"run_as_user": 1}')
    (made,) = desk.server.jobs.values()
    await desk.submit(kubernetes_pod='{"run_as_user": 2}')
    assert desk.server.asked == 2
    assert list(desk.server.jobs.values()) == [made]
    assert desk.ends == []


@pytest.mark.parametrize(
    ("part", "name"), [("annotations", TASK_NAME), ("labels", INSTANCE)], ids=["launch", "installation"]
)
async def test_a_job_of_another_is_never_adopted(desk: Desk, part: str, name: str):
    await desk.submit()
    (made,) = desk.server.jobs.values()
    made["metadata"][part][name] = "another"
    with pytest.raises(Unavailable, match="another Job has the name"):
        await desk.submit()


async def test_rights_that_are_missing_are_waited_for_as_a_server_that_is_away(desk: Desk):
    denied = (
        ClusterError(401, "Unauthorized", "Unauthorized"),
        ClusterError(403, "Forbidden", 'jobs.batch is forbidden: User "w" cannot create resource "jobs"'),
        ClusterError(404, "NotFound", 'namespaces "headrace-jobs" not found'),
    )
    desk.server.creating.extend([*denied, Unreachable()])
    await desk.submit()
    assert len(desk.server.jobs) == 1
    assert desk.store.told == ["ClusterUnavailable"] * 4 + [""]


async def test_a_job_that_the_owners_of_the_cluster_deny_is_not_waited_for(desk: Desk):
    message = 'admission webhook "images.example.org" denied the request: no such image here'
    desk.server.creating.append(ClusterError(403, "Forbidden", message))
    with pytest.raises(Unavailable, match="no such image here"):
        await desk.submit()
    assert desk.store.told == []
