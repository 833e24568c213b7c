"""An API server that hangs, refuses, forgets or breaks off: nothing is lost, nothing is made twice, other runs go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.kubernetes.proxy import WATCH_FAULTS, Fault, refusal

JOBS = "/jobs"
Choice = Callable[[str, str], bool]


def creates(method: str, path: str) -> bool:
    return method == "POST" and path.partition("?")[0].endswith(JOBS)


def watches(method: str, path: str) -> bool:
    return method == "GET" and "watch=1" in path


def the_first(count: int, which: Choice, fault: Fault) -> Callable[[str, str], Fault | None]:
    """The first requests of a kind meet a fault."""
    left = [fault] * count
    return lambda method, path: left.pop() if left and which(method, path) else None


@pytest.fixture
async def proxy(site, tmp_path):
    from tests.kubernetes.proxy import proxied

    async with proxied(site.settings, tmp_path) as (made, kubeconfig):
        site.settings = site.settings.model_copy(update={"kubeconfig": kubeconfig, "kubernetes_timeout": 2.0})
        yield made
        for worker in site.workers:
            await worker.stop()


async def test_an_api_server_that_hangs_is_timed_out_and_holds_up_nobody_else(site, proxy):
    """Fault row 21."""
    await site.worker()
    proxy.choose = lambda _method, _path: Fault("hang")
    proxy.break_all()
    run = await site.fire({"type": "shell"}, site.shell("true"))
    await site.until_why(run, "ClusterUnavailable")
    other = await site.fire({"wait": {"duration": "1s"}}, name="other")
    assert (await site.ended(other, 20))["status"] == "succeeded"
    proxy.choose = lambda _method, _path: None
    proxy.break_all()
    node = await site.ended(run)
    assert (node["status"], node["attempt"], node["infrastructure_faults"]) == ("succeeded", 1, 0)


@pytest.mark.parametrize("kind", WATCH_FAULTS)
async def test_a_watch_that_goes_wrong_misses_nothing_and_does_not_run_hot(site, proxy, kind: str):
    """Fault row 22."""
    proxy.choose = lambda method, path: WATCH_FAULTS[kind] if watches(method, path) else None
    await site.worker()
    run = await site.fire({"type": "shell", "retry": {"max_attempts": 1}}, site.shell("exit 3"))
    node = await site.ended(run)
    assert (node["status"], node["attempt"]) == ("failed", 1)
    assert sum("watch=1" in each for each in proxy.asked) < 90


async def test_connections_that_are_cut_again_and_again_lose_nothing(site, proxy):
    """Fault row 22."""
    await site.worker()
    run = await site.fire({"type": "shell"}, site.shell("sleep 4"))
    ended = asyncio.create_task(site.ended(run))
    while not ended.done():
        proxy.break_all()
        await asyncio.wait({ended}, timeout=0.7)
    node = await ended
    assert (node["status"], node["attempt"], node["infrastructure_faults"]) == ("succeeded", 1, 0)


async def test_a_storm_of_429_is_waited_out_and_makes_one_job(site, proxy):
    """Fault row 23."""
    many = refusal(429, "TooManyRequests", "too many requests", **{"Retry-After": "1"})
    proxy.choose = the_first(6, creates, many)
    await site.worker()
    run = await site.fire({"type": "shell"}, site.shell("true"))
    node = await site.ended(run)
    assert (node["status"], node["attempt"], node["infrastructure_faults"]) == ("succeeded", 1, 0)
    assert (
        len(await site.items("jobs")),
        sum(creates(*each.split(" ")) for each in proxy.asked),
    ) == (1, 7)


async def test_an_answer_that_is_lost_makes_no_second_job(site, proxy):
    """Fault row 23: created, and the answer never came; the next try finds the Job there and takes it."""
    proxy.choose = the_first(1, creates, Fault("deaf"))
    await site.worker()
    run = await site.fire({"type": "shell"}, site.shell("sleep 3"))
    node = await site.ended(run)
    assert proxy.met["deaf"] == 1
    assert (node["status"], node["attempt"], node["infrastructure_faults"]) == ("succeeded", 1, 0)
    assert len(await site.items("jobs")) == 1


async def test_a_worker_killed_between_creating_and_committing_leaves_one_job(site, proxy):
    """Fault row 3: the Job is there, and nobody could say so; another worker takes it as its own."""
    proxy.choose = lambda method, path: Fault("deaf") if creates(method, path) else None
    site.settings = site.settings.model_copy(update={"kubernetes_timeout": 60.0})
    killed = site.process("worker")
    run = await site.fire({"type": "shell"}, site.shell("sleep 12"))

    async def created():
        return await site.items("jobs")

    (before,) = await site.until(created, "the Job is there")
    killed.kill()
    killed.wait()
    assert proxy.met["deaf"] == 1
    proxy.choose = lambda _method, _path: None
    await site.worker()
    node = await site.ended(run)
    assert (node["status"], node["attempt"], node["infrastructure_faults"]) == ("succeeded", 1, 0)
    assert [each["metadata"]["uid"] for each in await site.items("jobs")] == [before["metadata"]["uid"]]


@pytest.mark.parametrize(("status", "reason"), [(403, "Forbidden"), (503, "ServiceUnavailable")])
async def test_an_outage_or_missing_rights_cost_neither_attempt_nor_fault_however_long(
    site, proxy, status: int, reason: str
):
    """`why` names them, and the start timeout stands still."""
    denied = refusal(status, reason, "jobs.batch is forbidden: not for you")
    proxy.choose = lambda method, path: denied if creates(method, path) else None
    await site.worker()
    node = {"type": "shell", "retry": {"max_attempts": 1}, "timeout": {"start": "8s"}}
    run = await site.fire(node, site.shell("true"))
    assert "not for you" in await site.until_why(run, "ClusterUnavailable")
    began = time.monotonic()

    async def waited() -> bool:
        assert (await site.store.runs.node(run, "work"))["status"] == "starting"
        return time.monotonic() - began > 9

    await site.until(waited, "longer than its start timeout")
    proxy.choose = lambda _method, _path: None
    ended = await site.ended(run)
    assert (ended["status"], ended["attempt"], ended["infrastructure_faults"]) == ("succeeded", 1, 0)


async def test_a_job_that_the_clusters_owners_deny_is_an_infrastructure_fault(site, proxy):
    denied = refusal(
        403, "Forbidden", 'admission webhook "images.example.org" denied the request: not this image'
    )
    proxy.choose = the_first(1, creates, denied)
    await site.worker()
    run = await site.fire({"type": "shell", "retry": {"max_attempts": 1}}, site.shell("true"))
    node = await site.ended(run)
    assert (node["status"], node["attempt"], node["infrastructure_faults"]) == ("succeeded", 1, 1)
