"""Calls of services in the store: leased, looked at when they are due, and forgotten with their attempts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.core.signals import Signal, SignalKind
from app.core.tasks import Task
from app.errors import StaleEpoch
from app.settings import Settings
from app.store.nodes import NodeCall
from app.store.store import Store

CALL: dict[str, Any] = {"call": {"service": {"url": "https://search.example/"}, "timeout": {"run": "1h"}}}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"lease": 0.2, "circuit_failures": 2, "circuit_pause": 0.2})


@pytest.fixture
async def task(hand) -> Task:
    """An admitted call."""
    made = Task(await hand.begin(CALL), "call", 1, 0)
    assert await hand.admit(made) == [1]
    return made


async def due(store: Store) -> list[Task]:
    """Wait until calls are due, and claim them."""
    while True:
        tasks, wait = await store.calls.claim(10)
        if tasks:
            return tasks
        assert wait is not None
        await asyncio.sleep(wait)


async def test_a_call_that_begins_is_no_submission_any_more_and_ours_for_a_lease(store: Store, task: Task):
    assert await store.calls.begin(task)
    assert not await store.workers.is_launching(task)
    assert await store.calls.held() == {task}
    assert await store.calls.claim(10) == ([], pytest.approx(0.2, abs=0.15))
    assert await due(store) == [task]


async def test_a_launch_that_is_over_does_not_begin(store: Store, task: Task):
    assert not await store.calls.begin(task._replace(launch=1))
    assert await store.calls.held() == set()


async def test_of_two_workers_one_gets_a_call_that_is_due(store: Store, task: Task):
    await store.calls.begin(task)
    await store.calls.look(task, 0)
    first, second = await asyncio.gather(store.calls.claim(10), store.calls.claim(10))
    assert [first[0], second[0]] == [[task], []]


async def test_a_call_that_was_forgotten_is_not_brought_back_by_a_late_renewal(store: Store, task: Task):
    await store.calls.begin(task)
    await store.calls.forget(task)
    await store.calls.renew([task], 0)
    await store.calls.look(task, 0)
    assert await store.calls.held() == set()


async def test_a_call_that_was_given_up_is_due_at_once(store: Store, hand, task: Task):
    await store.calls.begin(task)
    await store.nodes.start(NodeCall(task.run, "call", 1), "w", 60_000, [])
    await store.calls.look(task, 3_600_000)
    await store.batcher.call("HSET", store.keys.node(task.run, "call"), "r", 1)  # it has run for long
    await hand.signal(task.run, Signal(SignalKind.DUE, "call"))
    await hand.decide()
    assert (await store.runs.node(task.run, "call"))["status"] == "waiting"
    assert await store.workers.holders() == {}
    assert await due(store) == [task]
    call = await store.calls.load(task)
    assert call is not None
    assert not call.live


async def test_a_deferred_launch_gives_its_slot_back_and_becomes_ready_again(store: Store, hand, task: Task):
    assert await store.calls.defer(task, 1, "search.example:443")
    assert not await store.calls.defer(task._replace(attempt=2), 1, "search.example:443")
    await hand.decide()
    assert await store.workers.holders() == {}
    assert not await store.workers.is_launching(task)
    await hand.signal(task.run, Signal(SignalKind.DUE, "call"))
    await hand.decide()
    node = await store.runs.node(task.run, "call")
    assert node["attempt"] == 1


async def test_a_failure_of_an_instance_that_lost_the_attempt_is_refused(store: Store, task: Task):
    await store.calls.begin(task)
    first = await store.nodes.start(NodeCall(task.run, "call", 1), "w1", 60_000, [])
    await store.nodes.start(NodeCall(task.run, "call", 1), "w2", 60_000, [])
    with pytest.raises(StaleEpoch):
        await store.calls.fail(task, first.epoch, Signal(SignalKind.FAIL, "call", attempt=1, type="x"))
    assert await store.calls.held() == {task}


async def test_a_circuit_opens_after_failures_in_a_row_and_lets_one_try_after_its_pause(store: Store):
    host = "search.example:443"
    assert [await store.circuits.failed(host) for _ in range(2)] == [0, 200]
    gate = await store.circuits.ask(host)
    assert (0 < gate.wait_ms <= 200, gate.failures) == (True, 2)
    _, until = await store.circuits.get(host)
    while await store.workers.now() < until:  # noqa: ASYNC110  (the server's clock has no event)
        await asyncio.sleep(0.01)
    assert (await store.circuits.ask(host)).wait_ms == 0
    assert (await store.circuits.ask(host)).wait_ms > 200  # another one tries already
    assert await store.circuits.failed(host) == 400
    await store.circuits.succeeded(host)
    assert await store.circuits.get(host) == (0, 0)
