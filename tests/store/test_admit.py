"""The admit script: slots are facts, and who waits longest goes first (M15, B3)."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.tasks import Task
from app.settings import Settings
from app.store.nodes import NodeCall
from app.store.store import Store


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"global_slots": 2})


def roots(count: int) -> dict[str, Any]:
    return {f"n{i}": {"type": "step"} for i in range(count)}


async def queued(store: Store) -> list[Task]:
    return [waiting.task for waiting in await store.admission.queued()]


async def test_a_ready_node_run_takes_a_slot_and_starts(store: Store, hand):
    run = await hand.begin(roots(1))
    task = Task(run, "n0", 1, 0)
    assert await hand.admit(task, fresh=True) == [1]
    assert list(await store.workers.holders()) == [task]
    assert (await store.runs.node(run, "n0"))["status"] == "starting"
    assert await store.workers.is_launching(task)
    assert await queued(store) == []


async def test_what_is_over_the_cap_waits(store: Store, hand):
    run = await hand.begin(roots(3))
    tasks = [Task(run, f"n{i}", 1, 0) for i in range(3)]
    assert await hand.admit(*tasks, fresh=True) == [1, 1, 0]
    assert await queued(store) == tasks[2:]
    assert len(await store.workers.holders()) == 2


async def test_what_comes_new_waits_where_others_wait(store: Store, hand):
    old = await hand.begin(roots(3), "old")
    await hand.admit(*(Task(old, f"n{i}", 1, 0) for i in range(3)), fresh=True)
    await store.nodes.start(call := NodeCall(old, "n0", 1), "pod", 60_000, [])
    await store.nodes.fail(call, 1, "Broken", "no", retryable=False)
    await hand.decide()
    new = await hand.begin(roots(1), "new")
    assert await hand.admit(Task(new, "n0", 1, 0), fresh=True) == [0], (
        "there is a slot, and another waits for it"
    )
    assert await hand.turns(1) == [Task(old, "n2", 1, 0)]


async def test_a_task_is_admitted_once(store: Store, hand):
    run = await hand.begin(roots(1))
    assert await hand.admit(Task(run, "n0", 1, 0)) == [1]
    assert await hand.admit(Task(run, "n0", 1, 0)) == [-1]
    assert len(await store.workers.holders()) == 1


@pytest.mark.parametrize(("attempt", "launch"), [(2, 0), (1, 1)])
async def test_a_task_of_another_attempt_is_dropped_from_the_queue(
    store: Store, hand, attempt: int, launch: int
):
    run = await hand.begin(roots(1))
    (stale,) = await hand.waiting(Task(run, "n0", attempt, launch))
    await store.batcher.call("ZADD", store.keys.queue, 0, stale.encode())
    assert await hand.admit(stale.task) == [-1]
    assert await queued(store) == [Task(run, "n0", 1, 0)]
    assert await store.workers.holders() == {}


async def test_a_slot_that_is_freed_admits_the_next(store: Store, hand):
    run = await hand.begin(roots(3))
    await hand.admit(*(Task(run, f"n{i}", 1, 0) for i in range(3)))
    await store.nodes.start(call := NodeCall(run, "n0", 1), "pod", 60_000, [])
    await store.nodes.fail(call, 1, "Broken", "no", retryable=False)
    assert await hand.turns() == [], "a slot is freed by the commit that ends its attempt"
    await hand.decide()
    assert await hand.turns() == [Task(run, "n2", 1, 0)]
    assert await hand.admit(Task(run, "n2", 1, 0)) == [1]
