"""A commit admits what it makes ready, in the same step (M15, B3; DESIGN section 4, budget per chained node)."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.tasks import Task
from app.settings import Settings
from app.store.admission import Asking
from app.store.engine import waiting
from app.store.nodes import NodeCall
from app.store.store import Store


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"global_slots": 2})


def roots(count: int) -> dict[str, Any]:
    return {f"n{i}": {"type": "step"} for i in range(count)}


async def begin(
    store: Store, hand: Any, nodes: dict[str, Any], asks: int, name: str = "w"
) -> tuple[str, list[int]]:
    """The first commit of a new run, of whose ready node runs so many ask; the run, and what each was told."""
    run: str = await hand.begun(nodes, name)
    entry = await hand.claim()
    loaded, changes = await hand.decided(run)
    asking = [Asking(waiting(loaded.view, ready), 60_000) for ready in changes.ready[:asks]]
    return run, await store.engine.commit(loaded, entry.id, changes, (), asking)


async def queued(store: Store) -> list[Task]:
    return [each.task for each in await store.admission.queued()]


async def test_what_has_room_starts_with_the_commit_and_never_stands_in_the_queue(store: Store, hand):
    run, verdicts = await begin(store, hand, roots(2), 2)
    assert verdicts == [1, 1]
    assert await queued(store) == []
    assert {task.ref for task in await store.workers.holders()} == {"n0", "n1"}
    assert [(await store.runs.node(run, ref))["status"] for ref in ("n0", "n1")] == ["starting", "starting"]
    assert await store.workers.is_launching(Task(run, "n0", 1, 0))


async def test_what_has_no_room_waits_in_the_queue(store: Store, hand):
    run, verdicts = await begin(store, hand, roots(3), 3)
    assert verdicts == [1, 1, 0]
    assert await queued(store) == [Task(run, "n2", 1, 0)]
    assert (await store.runs.node(run, "n2"))["status"] == "ready"


async def test_what_does_not_ask_waits_in_the_queue(store: Store, hand):
    run, verdicts = await begin(store, hand, roots(3), 1)
    assert verdicts == [1]
    assert await queued(store) == [Task(run, "n1", 1, 0), Task(run, "n2", 1, 0)]


async def test_what_comes_new_waits_where_others_wait(store: Store, hand):
    old, _ = await begin(store, hand, roots(3), 3, "old")
    await store.nodes.start(call := NodeCall(old, "n0", 1), "pod", 60_000, [])
    await store.nodes.fail(
        call, 1, "Broken", "no", retryable=False
    )  # a slot is free, and n2 of the old run waits for it
    await hand.decide()
    new, verdicts = await begin(store, hand, roots(1), 1, "new")
    assert verdicts == [0]
    assert Task(new, "n0", 1, 0) in await queued(store)


async def test_nothing_of_a_paused_run_starts(store: Store, hand):
    run: str = await hand.begun(roots(1))
    entry = await hand.claim()
    loaded, changes = await hand.decided(run)
    await store.control.pause(run)
    asking = [Asking(waiting(loaded.view, ready), 60_000) for ready in changes.ready]
    assert await store.engine.commit(loaded, entry.id, changes, (), asking) == [-1]
    assert list(await store.workers.holders()) == []
    assert (await store.runs.node(run, "n0"))["status"] == "ready"
    await store.control.resume(run)
    await hand.decide()
    assert await queued(store) == [Task(run, "n0", 1, 0)]


async def test_its_events_are_told_in_order_and_in_one_entry(store: Store, hand):
    run, _ = await begin(store, hand, roots(1), 1)
    told = [event for _, event in await store.events.read(run, "0")]
    assert [(event.get("node"), event["to"]) for event in told[-2:]] == [("n0", "ready"), ("n0", "starting")]
    assert (
        await store.batcher.call("XLEN", store.keys.events(run)) == 2
    )  # one of the trigger, one of the commit
