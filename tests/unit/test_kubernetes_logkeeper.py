"""Logs, then TTL, where the place for logs or the API server fails: nothing good is lost, and no launch holds up another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.tasks import Task
from app.errors import Unavailable
from app.joblogs import JobLog
from app.objects import Objects
from app.settings import Settings
from tests.unit.podlog import Content, Pod, at
from workers.executors.kubernetes import logs, tail
from workers.executors.kubernetes.client import ClusterError
from workers.executors.kubernetes.known import Known
from workers.executors.kubernetes.logs import ENDED, LIVE, LogKeeper
from workers.executors.kubernetes.manifest import CONTAINER
from workers.executors.rate import Backoff

RUN = "r" + "0" * 24
TEXT = at(0) + b" one\n" + at(1) + b" two\n"
NOW = "2026-01-01T00:00:02Z"


def task(number: int) -> Task:
    return Task(RUN, f"node{number:03d}", 1, 0)


def over(number: int, *, ended: str | None = None) -> Known:
    """A launch whose pod succeeded, and its Job with it."""
    condition = {
        "type": "Complete",
        "status": "True",
        "lastTransitionTime": ended or datetime.now(UTC).isoformat(),
    }
    job = {"metadata": {"name": f"job{number}", "uid": f"job{number}"}, "status": {"conditions": [condition]}}
    uid = f"{number:08d}"
    pod = {
        "metadata": {"name": f"pod{number}", "uid": uid, "creationTimestamp": NOW},
        "status": {
            "phase": "Succeeded",
            "containerStatuses": [{"name": CONTAINER, "state": {"terminated": {"exitCode": 0}}}],
        },
    }
    return Known(job=job, pods={uid: pod})


class Server:
    """An API server: the logs of pods, and the Jobs that got a TTL."""

    def __init__(self) -> None:
        self.settled: dict[str, str] = {}
        """By the name of a Job: what was said of its log."""
        self.refused: set[str] = set()
        """Pods whose logs were asked for meanwhile."""
        self.away: set[str] = set()
        """Pods whose machine does not answer, and Jobs that take no patch."""
        self.changes: Counter[str] = Counter()
        """How often the patch of a Job still meets a change by another."""
        self.gone: set[str] = set()
        """Jobs that were deleted."""
        self.pod = Pod(TEXT)
        """What each of them wrote."""

    def url(self, *parts: str) -> str:
        return "/".join(parts)

    def stream(
        self, url: str, params: Mapping[str, str], *, silence: float
    ) -> AbstractAsyncContextManager[Content]:
        pod = url.split("/")[-2]
        if pod in self.away:
            self.refused.add(pod)
            raise ClusterError(502, "BadGateway", "the machine does not answer")
        return self.pod.stream(url, params, silence=silence)

    async def patch_job(self, name: str, change: Mapping[str, Any]) -> None:
        if name in self.away:
            raise ClusterError(500, "InternalError", "not now")
        if self.changes[name]:
            self.changes[name] -= 1
            raise ClusterError(409, "Conflict", "it was changed meanwhile")
        self.settled[name] = change["metadata"]["annotations"]["headrace.dev/logs"]

    async def get_job(self, name: str) -> dict[str, Any]:
        if name in self.gone:
            raise ClusterError(404, "NotFound", "it is not there")
        return {"metadata": {"name": name, "uid": name}}


class House:
    """A log keeper, the API server that it asks and the launches that it is told of."""

    def __init__(self, folder: Path) -> None:
        self.server: Any = Server()
        self.known: dict[Task, Known] = {}
        self.objects = Objects(f"file:{folder}")
        self._observer: Any = SimpleNamespace(known=self.known, take_news=lambda: set(self.known))
        self._settings = Settings(log_uri=f"file:{folder}")

    def log(self, number: int) -> JobLog:
        return JobLog(self.objects, *task(number))

    @asynccontextmanager
    async def keeping(self) -> AsyncGenerator[None]:
        running = asyncio.create_task(LogKeeper(self.server, self._observer, self._settings).run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def until(self, condition: Callable[[], bool | Awaitable[bool]]) -> None:
        async with asyncio.timeout(30):
            while True:
                met = condition()
                if met if isinstance(met, bool) else await met:
                    return
                await asyncio.sleep(0.01)

    async def is_archived(self, number: int) -> bool:
        return await self.log(number).archived() is not None

    async def text(self, number: int) -> bytes:
        return b"".join([chunk async for chunk in self.log(number).chunks(0)])


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(logs, "LOOK", 0.01)
    for module in (logs, tail):
        monkeypatch.setattr(module, "Backoff", lambda *_: Backoff(0.01, 0.01))
    return House(tmp_path)


async def test_a_log_is_archived_and_then_its_job_gets_a_ttl_and_its_parts_go(house: House):
    house.known[task(1)] = over(1)
    async with house.keeping():
        await house.until(lambda: house.server.settled == {"job1": "archived"})
        assert await house.text(1) == b"one\ntwo\n"


async def test_an_archived_log_stays_whole_where_its_parts_cannot_all_be_removed(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    cleared: list[str] = []

    async def half(objects: Objects, prefix: str, most: int = 0) -> bool:
        cleared.append(prefix)
        for path, _ in await objects.listed(prefix):
            await objects.remove(path)
        raise Unavailable("the place for logs went away")

    monkeypatch.setattr(Objects, "clear", half)
    house.known[task(1)] = over(1)
    async with house.keeping():
        await house.until(lambda: bool(cleared))
        for number in (2, 3):  # by then the first would have been archived again
            house.known[task(number)] = over(number)
            await house.until(lambda number=number: len(cleared) >= number)
    assert set(house.server.settled.values()) == {"archived"}
    assert await house.text(1) == b"one\ntwo\n"


async def test_what_the_place_for_logs_did_not_take_is_received_again(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    write, refused = Objects.write, 0

    async def away(objects: Objects, path: str, content: bytes) -> None:
        nonlocal refused
        if refused < 40:
            refused += 1
            raise Unavailable("the place for logs is away")
        await write(objects, path, content)

    monkeypatch.setattr(Objects, "write", away)
    lines = [b"%03d" % number * 700 + b"\n" for number in range(700)]
    house.server.pod = Pod(b"".join(at(number) + b" " + line for number, line in enumerate(lines)))
    house.known[task(1)] = over(1)
    async with house.keeping():
        await house.until(lambda: house.server.settled == {"job1": "archived"})
    assert await house.text(1) == b"".join(lines)


async def test_launches_whose_logs_cannot_be_archived_do_not_hold_up_the_others(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    """More of them than are archived at a time, one of a kind that nobody foresaw."""
    archive = JobLog.archive

    async def broken(log: JobLog, note: str = "") -> int:
        if "node000" in log.path:
            raise RuntimeError("nobody foresaw this")
        if "good" not in log.path:
            raise Unavailable("the place for logs does not take it")
        return await archive(log, note)

    monkeypatch.setattr(JobLog, "archive", broken)
    house.known.update({task(number): over(number) for number in range(ENDED + 4)})
    house.known[Task(RUN, "good", 1, 0)] = over(900)
    async with house.keeping():
        await house.until(lambda: house.server.settled == {"job900": "archived"})
        monkeypatch.undo()
        await house.until(lambda: len(house.server.settled) == ENDED + 5)


async def test_pods_whose_machine_does_not_answer_do_not_hold_up_the_logs_of_others(house: House):
    stuck = LIVE + ENDED + 1
    house.known.update({task(number): over(number) for number in range(stuck)})
    house.server.away = {f"pod{number}" for number in range(stuck)}
    async with house.keeping():
        house.known[task(900)] = over(900)
        await house.until(lambda: house.server.settled == {"job900": "archived"})


async def test_a_job_that_takes_no_ttl_now_gets_it_later(house: House):
    house.known[task(1)] = over(1)
    house.server.away = {"job1"}
    async with house.keeping():
        await house.until(lambda: house.is_archived(1))
        house.server.away.clear()
        await house.until(lambda: house.server.settled == {"job1": "archived"})
    assert await house.text(1) == b"one\ntwo\n"


async def test_a_job_that_others_change_all_the_time_gets_its_ttl_all_the_same(house: House):
    house.known[task(1)] = over(1)
    house.server.changes["job1"] = 3
    async with house.keeping():
        await house.until(lambda: house.server.settled == {"job1": "archived"})


async def test_a_job_that_was_deleted_meanwhile_is_left_alone(house: House):
    """The API server says 409 of a Job of another UID, and there may be none at all when it is asked."""
    house.known[task(1)] = over(1)
    house.server.changes["job1"] = 1
    house.server.gone.add("job1")
    async with house.keeping():
        await house.until(lambda: house.is_archived(1))
        house.known[task(2)] = over(2)
        await house.until(lambda: house.server.settled == {"job2": "archived"})
    assert not house.server.changes["job1"]


async def test_what_another_has_archived_meanwhile_is_left_alone(house: House):
    """Two leaders for a moment: the other one removes the parts just now."""
    known = house.known[task(1)] = over(1)
    house.server.away = {"pod1"}
    async with house.keeping():
        await house.until(lambda: "pod1" in house.server.refused)
        known.job["metadata"]["annotations"] = {"headrace.dev/logs": "archived"}
        known.job["spec"] = {"ttlSecondsAfterFinished": 300}
        house.server.away.clear()
        for number in (2, 3, 4, 5):
            house.known[task(number)] = over(number)
            await house.until(lambda number=number: f"job{number}" in house.server.settled)
    assert await house.log(1).archived() is None


async def test_a_job_is_let_go_after_the_cap_though_that_fails_at_first(house: House):
    house.known[task(1)] = over(1, ended=(datetime.now(UTC) - timedelta(days=8)).isoformat())
    house.server.away = {"pod1", "job1"}
    async with house.keeping():
        house.known[task(2)] = over(2)
        await house.until(lambda: house.server.settled == {"job2": "archived"})
        house.server.away.clear()
        await house.until(lambda: house.server.settled.get("job1") == "truncated")
