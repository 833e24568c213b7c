"""What the one that watches makes of lists, watches and gaps between them, and what it stops (M12, M16, B3)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from app.core.attempts import INFRA_BUDGET
from app.core.signals import Signal, exit_of
from app.core.states import NodeStatus
from app.core.tasks import Task
from app.store.workers import Lived, NodeState
from workers.executors.kubernetes import stopper, watch
from workers.executors.kubernetes.client import ClusterError
from workers.executors.kubernetes.manifest import CONTAINER
from workers.executors.kubernetes.observer import Observer
from workers.executors.kubernetes.reasons import OVERDUE_MS
from workers.executors.naming import TASK, launch_name
from workers.executors.rate import Backoff

NOW = "2026-01-01T00:00:00Z"
FORGOTTEN = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
"""What ends a watch, so that a list follows."""
COMPLETE = {"type": "Complete", "status": "True"}
EVICTED = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
GOES_ON = NodeState(NodeStatus.RUNNING, 1, 0, "", launched=True)
OVER = NodeState(NodeStatus.SUCCEEDED, 1, 0, "", launched=True)
MUST_STOP = NodeState(NodeStatus.RUNNING, 1, 0, "cancelled", launched=True)


def task(number: int) -> Task:
    return Task("r1", f"node{number:03d}", 1, 0)


def job(number: int, *conditions: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": launch_name("hr", task(number)), "uid": f"job{number}", "creationTimestamp": NOW,
                "annotations": {TASK: task(number).encode()}}  # fmt: skip
    return {"metadata": metadata, "status": {"conditions": list(conditions)}}


def pod(number: int, phase: str, *conditions: dict[str, str], **state: Any) -> dict[str, Any]:
    """Its pod, whose container is in that state."""
    owner = {"name": launch_name("hr", task(number))}
    metadata = {"name": f"pod{number}", "uid": f"pod{number}", "creationTimestamp": NOW, "ownerReferences": [owner],
                "annotations": {TASK: task(number).encode()}}  # fmt: skip
    status = {
        "phase": phase,
        "conditions": list(conditions),
        "containerStatuses": [{"name": CONTAINER, "state": state}],
    }
    return {"metadata": metadata, "status": status}


class Content:
    """What a watch receives: an answer in lines of JSON, and what reads them."""

    content_type = "application/json"

    def __init__(self) -> None:
        self.content = self
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.heard = False
        """Somebody listens."""

    def tell(self, event: Mapping[str, Any]) -> None:
        self._lines.put_nowait(orjson.dumps(event) + b"\n")

    async def readline(self) -> bytes:
        self.heard = True
        return await self._lines.get()


class Server:
    """An API server: lists by kind, a watch of each, and the Jobs that were deleted."""

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, Any]]] = {"jobs": [], "pods": [], "events": []}
        self.watches = {kind: Content() for kind in self.lists}
        self.deleted: list[str] = []
        self.refusals: dict[str, ClusterError] = {}
        """By the names of Jobs that cannot be deleted."""
        self.refused: Counter[str] = Counter()
        self.searches = 0
        """For the pods of one Job."""

    def url(self, _group: str, kind: str) -> str:
        return kind

    async def call(self, _method: str, url: str, *, params: Mapping[str, str]) -> dict[str, Any]:
        self.searches += "controller-uid" in params.get("labelSelector", "")
        return {"items": self.lists[url], "metadata": {"resourceVersion": "1"}}

    @asynccontextmanager
    async def stream(
        self, url: str, params: Mapping[str, str], *, silence: float, accept: str
    ) -> AsyncGenerator[Content]:
        yield self.watches[url]

    async def delete_job(self, name: str, _uid: str) -> bool:
        if name in self.refusals:
            self.refused[name] += 1
            raise self.refusals[name]
        self.deleted.append(name)
        return True

    def list_anew(self) -> None:
        for each in self.watches.values():
            each.tell(FORGOTTEN)


class Workers:
    """What the store knows of launches."""

    def __init__(self) -> None:
        self.state = GOES_ON
        self.renewed: list[Task] = []
        self.asked = 0
        self.clock = 0
        self.clock_reads = 0

    async def processes(self, _host: str) -> dict[Task, bytes]:
        return {}

    async def versions(self, _runs: list[str]) -> dict[str, tuple[str, int]]:
        return {}

    async def states(self, tasks: list[Task]) -> list[NodeState]:
        self.asked += 1
        return [self.state for _ in tasks]

    async def renew_launches(self, tasks: list[Task], _seconds: float) -> None:
        self.renewed += tasks

    async def admitted(self, _task: Task) -> int | None:
        return None

    async def forget_process(self, _task: Task, _host: str) -> None: ...

    async def now(self) -> int:
        self.clock_reads += 1
        return self.clock


class Hindrances:
    def __init__(self) -> None:
        self.told: list[tuple[Task, str]] = []
        self.lost = 1
        """How many pods each launch has lost so far."""
        self.counted: list[str] = []
        self.since: dict[str, int] = {}
        """By reason, as an earlier observer told it."""

    async def tell(self, task: Task, code: str, _detail: str, now: int) -> int:
        self.told.append((task, code))
        return self.since.setdefault(code, now)

    async def disrupted(self, _task: Task, pod: str) -> int:
        self.counted.append(pod)
        return self.lost


class Post:
    """An observer, the API server that it watches, and what it told."""

    def __init__(self, **settings: float) -> None:
        self.server: Any = Server()
        self.workers = Workers()
        self.hindrances = Hindrances()
        self.ends: list[Signal] = []
        store: Any = SimpleNamespace(workers=self.workers, hindrances=self.hindrances)
        self.observer = Observer(store, self.server, "w1", "hr", self._report, **settings)

    async def _report(self, run: str, signal: Signal, lived: Lived | None = None) -> None:
        self.ends.append(signal)

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[None]:
        running = asyncio.create_task(self.observer.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.01)


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Post:
    monkeypatch.setattr(stopper, "RECONCILE", 0.01)
    monkeypatch.setattr(watch, "Backoff", lambda **_: Backoff(0.01, 0.01))
    return Post()


async def test_a_job_says_how_a_pod_ended_that_vanished_while_nobody_watched(post: Post):
    """The last that was seen of the pod is that it ran."""
    post.server.lists.update(jobs=[job(1)], pods=[pod(1, "Running", running={})])
    async with post.watching():
        await post.until(lambda: task(1) in post.observer.known and post.observer.known[task(1)].launched)
        post.server.lists.update(jobs=[job(1, COMPLETE)], pods=[])
        post.server.list_anew()
        await post.until(lambda: post.ends)
    assert post.ends == [exit_of(task(1), code=0)]


async def test_who_begins_to_watch_learns_of_pods_first_and_need_not_search_for_those_of_each_job(post: Post):
    """The ends that nobody told while nobody watched."""
    numbers = range(20)
    post.server.lists["jobs"] = [job(number, COMPLETE) for number in numbers]
    post.server.lists["pods"] = [pod(number, "Succeeded", terminated={"exitCode": 0}) for number in numbers]
    async with post.watching():
        await post.until(lambda: len(post.ends) == len(numbers))
    assert post.ends == [exit_of(task(number), code=0) for number in numbers]
    assert post.server.searches == 0


async def test_who_begins_to_watch_tells_no_end_that_the_store_knows(post: Post):
    """Thousands of Jobs wait for their TTL: what is told of each anew would hold up the ends that nobody has told."""
    post.workers.state = OVER
    post.server.lists["jobs"] = [job(number, COMPLETE) for number in range(3)]
    async with post.watching():
        await post.until(lambda: len(post.observer.known) == 3)
        post.workers.state = GOES_ON
        post.server.watches["jobs"].tell({"type": "MODIFIED", "object": job(3, COMPLETE)})
        await post.until(lambda: post.ends)
    assert post.ends == [exit_of(task(3), code=0)]


async def test_a_job_that_has_ended_is_never_deleted_for_its_attempt_is_over(post: Post):
    """While its end is told the store may know of it already; it must stay until its log is archived."""
    gate = asyncio.Event()

    async def slow(_task: Task, _host: str) -> None:
        post.workers.state = OVER
        await gate.wait()

    post.workers.forget_process = slow
    async with post.watching():
        await post.until(lambda: post.server.watches["jobs"].heard)
        post.server.watches["jobs"].tell({"type": "ADDED", "object": job(1, COMPLETE)})
        await post.until(lambda: post.ends)
        asked = post.workers.asked
        await post.until(lambda: post.workers.asked > asked + 3)
        gate.set()
        await post.until(lambda: post.observer.known[task(1)].told)
    assert post.server.deleted == []


async def test_an_end_is_told_after_all_where_the_store_does_not_know_it_any_more(
    post: Post, monkeypatch: pytest.MonkeyPatch
):
    """It was set back to before that end."""
    monkeypatch.setattr(stopper, "REPEAT", 0.05)
    post.workers.state = OVER
    post.server.lists["jobs"] = [job(1, COMPLETE)]
    async with post.watching():
        await post.until(lambda: post.observer.known)
        post.workers.state = GOES_ON
        await post.until(lambda: post.ends)
    assert post.ends[0] == exit_of(task(1), code=0)


async def test_a_pod_that_vanished_while_it_ran_does_not_hide_why_no_other_is_made(post: Post):
    post.server.lists.update(jobs=[job(1)], pods=[pod(1, "Running", running={})])
    refusal = {"involvedObject": {"uid": "job1"}, "message": "exceeded quota: small", "metadata": {}}
    async with post.watching():
        await post.until(lambda: task(1) in post.observer.known and post.observer.known[task(1)].launched)
        post.server.lists.update(pods=[])
        post.server.watches["pods"].tell(FORGOTTEN)
        await post.until(lambda: post.observer.known[task(1)].gone)
        post.server.watches["events"].tell({"type": "ADDED", "object": refusal})
        await post.until(lambda: post.hindrances.told)
    assert post.hindrances.told == [(task(1), "QuotaExceeded")]


class Searched(dict[Task, Any]):
    """The launches that are known, and how often all of them were looked at."""

    times = 0

    def items(self) -> Any:
        self.times += 1
        return super().items()


async def test_a_refusal_finds_its_job_without_a_look_at_all_the_others(
    post: Post, monkeypatch: pytest.MonkeyPatch
):
    """A namespace that is full refuses each of its thousands of Jobs a pod, again and again."""
    monkeypatch.setattr(stopper, "RECONCILE", 60.0)
    known = post.observer.known = Searched()
    post.server.lists["jobs"] = [job(number) for number in range(100)]
    async with post.watching():
        await post.until(lambda: len(known) == 100)
        known.times = 0
        for number in range(100):
            refusal = {
                "involvedObject": {"uid": f"job{number}"},
                "message": "exceeded quota: small",
                "metadata": {},
            }
            post.server.watches["events"].tell({"type": "ADDED", "object": refusal})
        await post.until(lambda: len(post.hindrances.told) == 100)
    assert known.times < 10
    assert post.hindrances.told == [(task(number), "QuotaExceeded") for number in range(100)]


async def test_a_refusal_of_a_job_that_was_deleted_is_of_nobody(post: Post):
    """The Job that was made again under its name has another UID."""
    post.server.lists["jobs"] = [job(1), job(2)]
    async with post.watching():
        await post.until(lambda: len(post.observer.known) == 2)
        post.server.watches["jobs"].tell({"type": "DELETED", "object": job(1)})
        await post.until(lambda: task(1) not in post.observer.known)
        for number in (1, 2):
            refusal = {
                "involvedObject": {"uid": f"job{number}"},
                "message": "exceeded quota: small",
                "metadata": {},
            }
            post.server.watches["events"].tell({"type": "ADDED", "object": refusal})
        await post.until(lambda: post.hindrances.told)
    assert post.hindrances.told == [(task(2), "QuotaExceeded")]


async def test_the_job_of_a_launch_that_was_given_up_is_stopped(post: Post):
    """Its Job would go on, beside the attempt that follows: it knows nothing of a budget."""
    post.hindrances.lost = INFRA_BUDGET + 1
    post.server.lists.update(jobs=[job(1)], pods=[pod(1, "Failed", EVICTED, terminated={"exitCode": 143})])
    async with post.watching():
        await post.until(lambda: post.server.deleted)
    assert post.server.deleted == [launch_name("hr", task(1))]
    assert [(end.type, end.infra) for end in post.ends] == [("lost", True)]


async def test_a_job_that_cannot_be_deleted_holds_up_no_other(post: Post):
    names = [launch_name("hr", task(number)) for number in range(3)]
    post.server.refusals[names[0]] = ClusterError(500, "InternalError", "not this one")
    post.server.lists["jobs"] = [job(number) for number in range(3)]
    post.workers.state = MUST_STOP
    async with post.watching():
        await post.until(lambda: len(post.server.deleted) == 2 and post.server.refused[names[0]] > 1)
        del post.server.refusals[names[0]]
        await post.until(lambda: len(post.server.deleted) == 3)
    assert post.server.deleted == [*names[1:], names[0]]


async def test_a_submission_is_kept_at_the_first_look_and_then_now_and_again(post: Post):
    """Thousands may wait for room in the cluster: to keep them all at each look would be most of what a leader does."""
    post.workers.state = NodeState(NodeStatus.STARTING, 1, 0, "", launched=False)
    post.server.lists["jobs"] = [job(1), job(2)]
    async with post.watching():
        await post.until(lambda: post.workers.asked > 3)
        post.server.watches["jobs"].tell({"type": "ADDED", "object": job(3)})
        await post.until(lambda: task(3) in post.workers.renewed)
    assert sorted(post.workers.renewed) == [task(1), task(2), task(3)]


async def test_a_server_that_has_too_much_to_do_is_asked_once_a_round_and_submissions_are_kept(post: Post):
    names = [launch_name("hr", task(number)) for number in range(3)]
    post.server.refusals = dict.fromkeys(names, ClusterError(429, "TooManyRequests", "later"))
    post.server.lists["jobs"] = [job(number) for number in range(3)]
    post.workers.state = MUST_STOP
    async with post.watching():
        await post.until(lambda: post.server.refused[names[0]] > 2)
    assert post.server.refused.keys() == {names[0]}
    assert set(post.workers.renewed) <= {task(number) for number in range(3)}
    assert post.workers.renewed


# machines that are lost (fault row 25) ----------------------------------------------------------------------------

SHOULD_BE_GONE_MS = 1_767_225_660_000  # a minute after NOW
FORCE_RELEASE = 60.0


def on_a_lost_machine(number: int, *conditions: dict[str, str]) -> dict[str, Any]:
    """A pod that must go, and nothing more is heard of it."""
    found = pod(number, "Running", *conditions, running={})
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    return found


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Post:
    """One whose operator waits for a minute."""
    monkeypatch.setattr(stopper, "RECONCILE", 0.01)
    made = Post(force_release=FORCE_RELEASE)
    made.workers.clock = SHOULD_BE_GONE_MS + OVERDUE_MS
    return made


async def looked_often(post: Post) -> None:
    until = post.workers.clock_reads + 5
    await post.until(lambda: post.workers.clock_reads >= until)


async def test_a_launch_whose_machine_is_lost_keeps_its_slots_for_as_long_as_it_takes(post: Post):
    post.workers.clock = SHOULD_BE_GONE_MS + OVERDUE_MS
    post.server.lists.update(jobs=[job(1)], pods=[on_a_lost_machine(1, EVICTED)])
    async with post.watching():
        await post.until(lambda: post.hindrances.told)
        post.workers.clock += 30 * 24 * 3600 * 1000
        await looked_often(post)
    assert post.hindrances.told == [(task(1), "MachineLost")]
    assert (post.ends, post.server.deleted) == ([], [])


async def test_after_the_operators_time_it_is_given_up_as_an_infrastructure_fault(patient: Post):
    patient.server.lists.update(jobs=[job(1)], pods=[on_a_lost_machine(1, EVICTED)])
    async with patient.watching():
        await patient.until(lambda: patient.hindrances.told)
        patient.workers.clock += 59_999
        await looked_often(patient)
        assert not patient.ends
        patient.workers.clock += 1
        await patient.until(lambda: patient.server.deleted)
    assert [(end.type, end.infra) for end in patient.ends] == [("machine_lost", True)]
    assert patient.hindrances.counted == [], "a lost machine is one fault, not two"


async def test_who_watches_next_goes_on_with_the_time_that_has_passed(patient: Post):
    patient.hindrances.since["MachineLost"] = patient.workers.clock - 60_000
    patient.server.lists.update(jobs=[job(1)], pods=[on_a_lost_machine(1)])
    async with patient.watching():
        await patient.until(lambda: patient.ends)
    assert patient.ends[0].type == "machine_lost"


async def test_what_was_to_be_stopped_on_a_machine_that_is_lost_ends_then_too(patient: Post):
    """Its Job is deleted, and its pod never says that it is gone."""
    patient.workers.state = MUST_STOP
    patient.server.lists.update(jobs=[job(1)], pods=[pod(1, "Running", running={})])
    async with patient.watching():
        await patient.until(lambda: patient.server.deleted)
        patient.server.watches["pods"].tell({"type": "MODIFIED", "object": on_a_lost_machine(1)})
        await patient.until(lambda: patient.hindrances.told)
        assert not patient.ends
        patient.workers.clock += 60_000
        await patient.until(lambda: patient.ends)
    assert len(patient.server.deleted) == 1


async def test_a_pod_that_comes_back_from_a_lost_machine_to_be_stopped_is_laid_to_the_machine(post: Post):
    post.workers.clock = SHOULD_BE_GONE_MS + OVERDUE_MS
    post.server.lists.update(jobs=[job(1)], pods=[on_a_lost_machine(1)])
    async with post.watching():
        await post.until(lambda: post.hindrances.told)
        killed = pod(1, "Failed", terminated={"exitCode": 137})
        killed["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
        post.server.watches["pods"].tell({"type": "MODIFIED", "object": killed})
        await post.until(lambda: post.ends)
    assert [(end.type, end.infra) for end in post.ends] == [("machine_lost", True)]


async def test_a_pod_that_is_taken_away_counts_when_it_has_gone(post: Post):
    post.server.lists.update(jobs=[job(1)], pods=[on_a_lost_machine(1, EVICTED)])
    async with post.watching():
        await post.until(lambda: post.hindrances.told)
        assert post.hindrances.counted == []
        post.server.watches["pods"].tell({"type": "DELETED", "object": on_a_lost_machine(1, EVICTED)})
        await post.until(lambda: post.hindrances.counted)
    assert post.hindrances.counted == ["pod1"]
