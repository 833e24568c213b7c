"""Places of concurrency keys are facts: taken by the script that lets a run begin, given back by the one that ends it."""

from __future__ import annotations

import asyncio

import pytest

from app.core.concurrency import NO_LIMIT, Limit, OnLimit
from app.store.client import heard
from app.store.concurrency import MOST_AT_ONCE
from app.store.store import Store
from app.store.triggers import Placed
from tests.store.test_cost import calls

NODES = {"a": {"type": "step"}}
QUEUE = Limit("k", 1)


@pytest.fixture
def fire(store: Store, hand):
    """Accepts a trigger and places its run under a limit; (run, what became of it)."""

    async def make(limit: Limit | None = QUEUE, **more) -> tuple[str, Placed]:
        await hand.publish({"name": "w", "nodes": NODES})
        run = await hand.accept(**more)
        return run, await store.triggers.place_run(await hand.queued(), 1, limit)

    return make


async def end(store: Store, hand, run: str) -> None:
    """What its worker does: the run ends, then the next one is promoted."""
    await hand.decide()
    await hand.finish(run, "a")
    await hand.decide()
    await store.concurrency.promote("w", QUEUE.digest)


async def statuses(store: Store, *runs: str) -> list[str]:
    return [(await store.runs.get(run))["status"] for run in runs]


async def after(store: Store) -> None:
    """The store's clock shows another ms."""
    now = await store.workers.now()
    while await store.workers.now() == now:
        pass


async def names(rows) -> list[str]:
    return [run for run, _ in await rows]


async def test_a_run_over_the_limit_waits_and_begins_when_the_other_ends(store: Store, hand, fire):
    (one, first), (two, second) = await fire(), await fire()
    assert (first, second) == (Placed.STARTED, Placed.WAITS)
    await hand.decide()
    assert await statuses(store, one, two) == ["running", "queued"]
    await end(store, hand, one)
    await hand.decide()
    assert await statuses(store, one, two) == ["succeeded", "running"]
    assert await names(store.concurrency.running("w", QUEUE.digest)) == [two]
    assert await store.batcher.call("EXISTS", store.keys.waiting_keys("w")) == 0


async def test_first_come_first_served_within_a_priority(store: Store, hand, fire):
    await fire()
    later = [(await fire(priority=priority))[0] for priority in (3, 1, 3, 1)]
    assert await names(store.concurrency.waiting("w", QUEUE.digest)) == [later[i] for i in (1, 3, 0, 2)]


async def test_other_keys_have_places_of_their_own(fire):
    await fire()
    assert (await fire(Limit("other", 1)))[1] is Placed.STARTED


async def test_a_trigger_delivered_again_takes_no_second_place(store: Store, hand):
    await hand.publish({"name": "w", "nodes": NODES})
    await hand.accept()
    queued = await hand.queued()
    assert await store.triggers.place_run(queued, 1, QUEUE) is Placed.STARTED
    assert await store.triggers.place_run(queued, 1, QUEUE) is Placed.KNOWN
    assert len(await store.concurrency.running("w", QUEUE.digest)) == 1


@pytest.mark.parametrize("limit", [Limit("k", 1, OnLimit.REJECT), Limit("k", 1, OnLimit.QUEUE, 0)])
async def test_one_too_many_is_rejected_and_its_receipt_says_why(store: Store, fire, limit: Limit):
    await fire(limit)
    run, placed = await fire(limit)
    assert placed is Placed.REJECTED
    receipt = await store.triggers.get("t" + run[1:])
    assert receipt["state"] == "rejected"
    assert "'k'" in receipt["reason"]
    assert await store.batcher.call("XLEN", store.keys.triggers) == 0


@pytest.mark.parametrize("limit", [Limit("k", 1, OnLimit.REJECT), Limit("k", 1, OnLimit.QUEUE, 0)])
async def test_a_place_whose_run_is_over_rejects_nothing(store: Store, fire, limit: Limit):
    """Nothing waits behind it, so no look at waiting runs ever comes to it: the trigger itself looks."""
    await store.batcher.call("ZADD", store.keys.concurrency("w", limit.digest), 1, "r-gone")
    run, placed = await fire(limit)
    assert placed is Placed.STARTED
    assert await names(store.concurrency.running("w", limit.digest)) == [run]
    assert (await fire(limit))[1] is Placed.REJECTED


async def test_lost_places_are_found_behind_any_number_of_held_ones(store: Store, fire):
    limit = Limit("k", 10_000)
    run, _ = await fire(limit)
    places = store.keys.concurrency("w", limit.digest)
    held = [(1 + each % 2, f"r-held-{each}") for each in range(MOST_AT_ONCE)]
    await asyncio.gather(
        *(store.batcher.call("HSET", store.keys.run(each), "s", "running") for _, each in held)
    )
    gone = [(3, f"r-gone-{each}") for each in range(MOST_AT_ONCE)]
    await store.batcher.call("ZADD", places, *(part for row in [*held, *gone] for part in row))
    await store.concurrency.free("w", limit.digest)
    assert await store.batcher.call("ZCARD", places) == len(held) + 1
    assert await store.batcher.call("ZSCORE", places, run) is not None
    await store.batcher.call("DEL", *(store.keys.run(each) for _, each in held))


async def test_as_many_as_max_queued_wait(fire):
    limit = Limit("k", 1, OnLimit.QUEUE, 1)
    assert [(await fire(limit))[1] for _ in range(3)] == [Placed.STARTED, Placed.WAITS, Placed.REJECTED]


async def test_cancel_running_cancels_what_is_older_and_begins_when_it_has_ended(store: Store, hand, fire):
    limit = Limit("k", 1, OnLimit.CANCEL_RUNNING)
    one, _ = await fire(limit)
    await hand.decide()
    two, _ = await fire(limit)
    three, _ = await fire(limit)
    assert await store.concurrency.make_room("w", limit.digest) == 2
    await hand.decide()
    await store.concurrency.promote("w", limit.digest)
    await hand.decide()
    assert await statuses(store, one, two, three) == ["cancelled", "cancelled", "running"]


NEWEST = Limit("k", 1, OnLimit.CANCEL_RUNNING)


async def test_a_trigger_that_a_worker_comes_to_late_is_no_newer_for_that(store: Store, hand):
    """Its worker died with it in hand, say: another one's came later and runs already."""
    limit = Limit("k", 1, OnLimit.CANCEL_RUNNING)
    await hand.publish({"name": "w", "nodes": NODES})
    old = await hand.accept()
    await after(store)
    new = await hand.accept()
    first, second = await hand.queued(), await hand.queued()
    assert await store.triggers.place_run(second, 1, limit) is Placed.STARTED
    await hand.decide()
    await after(store)
    assert await store.triggers.place_run(first, 1, limit) is Placed.WAITS
    assert await store.concurrency.make_room("w", limit.digest) == 1
    await hand.decide()
    assert await statuses(store, old, new) == ["cancelled", "running"]
    assert await names(store.concurrency.running("w", limit.digest)) == [new]


async def test_those_that_wait_go_in_the_order_of_their_triggers(store: Store, hand, fire):
    await fire()
    waiting = []
    for _ in range(3):
        waiting.append(await hand.accept())
        await after(store)
    for queued in reversed([await hand.queued() for _ in range(3)]):
        await store.triggers.place_run(queued, 1, QUEUE)
        await after(store)
    assert await names(store.concurrency.waiting("w", QUEUE.digest)) == waiting


async def test_a_run_that_was_asked_to_end_keeps_its_place_and_is_not_asked_again(store: Store, hand, fire):
    one, _ = await fire(NEWEST)
    await hand.decide()
    two, _ = await fire(NEWEST)
    assert [await store.concurrency.make_room("w", NEWEST.digest) for _ in range(2)] == [1, 0]
    assert await names(store.concurrency.running("w", NEWEST.digest)) == [one]
    three, _ = await fire(NEWEST)
    assert await store.concurrency.make_room("w", NEWEST.digest) == 1
    assert await names(store.concurrency.waiting("w", NEWEST.digest)) == [three]
    await hand.decide()
    assert await statuses(store, one, two) == ["cancelled", "cancelled"]


async def test_a_burst_costs_the_same_for_each_of_its_triggers(store: Store, fire, client):
    """Else the last of a thousand would ask the 999 before it once more."""

    async def burst(count: int) -> float:
        before = await calls(client)
        for _ in range(count):
            await fire(NEWEST)
            await store.concurrency.make_room("w", NEWEST.digest)
        return (await calls(client) - before) / count

    await burst(2)
    first, last = await burst(10), await burst(40)
    assert last < 1.1 * first


async def test_those_that_come_at_once_make_room_together(store: Store, hand, fire, client):
    for _ in range(40):
        await fire(NEWEST)
    before = await calls(client)
    await asyncio.gather(*(store.concurrency.make_room("w", NEWEST.digest) for _ in range(40)))
    assert await calls(client) - before < 40 * 20
    assert len(await store.concurrency.waiting("w", NEWEST.digest)) == 1
    await hand.decide()


async def test_room_is_made_among_any_number_of_places(store: Store, fire):
    """A look that compares so many only would never see that all are taken."""
    limit = Limit("k", MOST_AT_ONCE + 100, OnLimit.CANCEL_RUNNING)
    since = await store.workers.now() - 10_000
    held = [f"r-held-{each:04}" for each in range(limit.max)]
    rows = [part for at, run in enumerate(held) for part in (since + at, run)]
    await store.batcher.call("ZADD", store.keys.concurrency("w", limit.digest), *rows)
    for run in held:
        store.batcher.call("HSET", store.keys.run(run), "s", "running").add_done_callback(heard)
    await fire(limit)
    assert await store.concurrency.make_room("w", limit.digest) == 1
    assert await store.batcher.call("HEXISTS", store.keys.run(held[0]), "cr") == 1
    assert await store.concurrency.make_room("w", limit.digest) == 0
    used = [
        key for run in held for key in (store.keys.run(run), store.keys.inbox(run), store.keys.events(run))
    ]
    await store.batcher.call("DEL", *used)


async def test_the_newest_stay_whatever_their_priorities(store: Store, hand, fire):
    limit = Limit("k", 3, OnLimit.CANCEL_RUNNING)
    runs = list[str]()
    for priority in (3, 5, 1, 4, 5, 2, 1, 3):
        runs.append((await fire(limit, priority=priority))[0])
        await after(store)
    assert await store.concurrency.make_room("w", limit.digest) == 5
    assert set(await names(store.concurrency.waiting("w", limit.digest))) == set(runs[5:])
    await hand.decide()
    await store.concurrency.promote("w", limit.digest)
    await hand.decide()
    assert await statuses(store, *runs) == ["cancelled"] * 5 + ["running"] * 3


async def test_a_workflow_with_many_keys_is_looked_at_page_by_page(store: Store, fire, configure):
    await configure("w", NODES)
    await store.concurrency.pause("w")
    for number in range(300):
        await fire(Limit(f"k{number}", 1))
    assert await store.concurrency.look("w") == 0, "a paused one is not looked at"
    await store.concurrency.resume("w")
    began = list[int]()
    while "w" in await store.concurrency.due(10):
        began.append(await store.concurrency.look("w"))
    assert sum(began) == 300
    assert max(began) < 200
    assert await store.batcher.call("HEXISTS", store.keys.workflow("w"), "look") == 0


async def test_a_waiting_run_that_is_cancelled_leaves_the_queue(store: Store, hand, fire):
    await fire()
    two, _ = await fire()
    await store.control.cancel(two)
    await hand.decide()
    assert await statuses(store, two) == ["cancelled"]
    assert await store.concurrency.waiting("w", QUEUE.digest) == []


async def test_what_a_dead_worker_left_is_seen_by_the_look(store: Store, hand, fire):
    """It died after the commit that ended the run, before it promoted the next; and once, a place leaked."""
    one, _ = await fire()
    two, _ = await fire()
    await hand.decide()
    await hand.finish(one, "a")
    await hand.decide()
    await store.batcher.call("ZADD", store.keys.concurrency("w", QUEUE.digest), 1, "r-gone")
    assert await store.concurrency.due(10) == ["w"]
    assert await store.concurrency.due(10) == []
    assert await store.concurrency.look("w") == 1
    assert await names(store.concurrency.running("w", QUEUE.digest)) == [two]
    assert await store.batcher.call("EXISTS", store.keys.limited) == 0


class TestPausedWorkflow:
    async def test_its_runs_wait_until_it_is_resumed(self, store: Store, hand, fire):
        await hand.publish({"name": "w", "nodes": NODES})
        await store.concurrency.pause("w")
        runs = [await fire(None), await fire(None)]
        assert {placed for _, placed in runs} == {Placed.WAITS}
        assert await store.concurrency.promote("w", NO_LIMIT) == 0
        await store.concurrency.resume("w")
        assert await store.concurrency.due(10) == ["w"]
        assert await store.concurrency.look("w") == 2
        await hand.decide()
        assert await statuses(store, *(run for run, _ in runs)) == ["running", "running"]

    async def test_resumed_its_runs_begin_as_far_as_there_are_places(self, store: Store, hand, fire):
        await store.concurrency.pause("w")
        one, two = (await fire())[0], (await fire())[0]
        await store.concurrency.resume("w")
        assert await store.concurrency.look("w") == 1
        assert await names(store.concurrency.running("w", QUEUE.digest)) == [one]
        assert await names(store.concurrency.waiting("w", QUEUE.digest)) == [two]

    async def test_a_place_that_becomes_free_stays_free(self, store: Store, hand, fire):
        one, _ = await fire()
        await fire()
        await store.concurrency.pause("w")
        await end(store, hand, one)
        assert await store.concurrency.running("w", QUEUE.digest) == []


async def test_why_names_who_is_in_its_way_and_its_place(store: Store, hand, fire):
    one, _ = await fire()
    await fire()
    run, _ = await fire()
    reasons = await store.why.run(run)
    assert (reasons[0]["code"], reasons[0]["key"], reasons[0]["max"]) == ("concurrency", "k", 1)
    assert (reasons[0]["running"], reasons[0]["ahead"]) == ([one], 1)
    await store.concurrency.pause("w")
    assert [reason["code"] for reason in await store.why.run(run)][:2] == ["workflow_paused", "concurrency"]
