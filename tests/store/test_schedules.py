"""Schedules in the store: each tick once, whoever fires it; they follow the versions of their workflow (M8, fault row 28)."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest

from app.errors import Backpressure
from app.store.schedules import Look, Schedules
from app.store.store import Store
from app.store.triggers import Triggers, read_trigger
from workers.schedule import Scheduler

MINUTE = 60_000
HOUR = 60 * MINUTE
EVERY_HOUR = {"name": "hourly", "cron": "0 * * * *"}


class Clock:
    """A clock that a test sets; it begins where the store's is, at the next full hour."""

    def __init__(self, now: int) -> None:
        self.ms = (now // HOUR + 1) * HOUR

    async def now(self) -> int:
        return self.ms


@pytest.fixture
async def clock(store: Store) -> Clock:
    return Clock(await store.workers.now())


@pytest.fixture
def scheduler(store: Store, clock: Clock) -> Scheduler:
    return Scheduler(store.schedules, clock.now)


async def publish(store: Store, *schedules: dict[str, Any], name: str = "w", **more: Any) -> None:
    triggers = [{"schedule": schedule} for schedule in schedules]
    document = {"name": name, "nodes": {"a": {"type": "step@1"}}, "triggers": triggers, **more}
    await store.workflows.publish(name, document, by="test")


async def receipts(store: Store) -> list[dict[str, Any]]:
    found, cursor = await store.triggers.list(None, 1000, None)
    while cursor is not None:  # pages are parts of a scan of the server, which other tests share
        more, cursor = await store.triggers.list(None, 1000, cursor)
        found += more
    return found


async def ticks(store: Store) -> list[str]:
    """The scheduled times of what is queued, in its order."""
    entries = await store.stream(store.keys.triggers, "test").read(1000, 1)
    return [read_trigger(entry.id, entry.fields).record["ev"]["time"] for entry in entries]


async def all_due(scheduler: Scheduler) -> None:
    while await scheduler.step() == 0:
        pass


async def test_a_tick_becomes_a_trigger_whose_event_tells_the_scheduled_time(
    store: Store, clock: Clock, scheduler: Scheduler
):
    await publish(store, {**EVERY_HOUR, "params": {"at": "${{ event.time }}"}})
    await all_due(scheduler)
    (receipt,) = await receipts(store)
    assert (receipt["state"], receipt["source"], receipt["workflow"]) == ("queued", "schedule:hourly", "w")
    (tick,) = await ticks(store)
    assert datetime.fromisoformat(tick).timestamp() * 1000 == clock.ms


async def test_a_schedule_begins_when_it_is_published(store: Store, clock: Clock, scheduler: Scheduler):
    clock.ms -= HOUR  # the last full hour, before the publication
    await publish(store, {**EVERY_HOUR, "catch_up": "2h"})
    await all_due(scheduler)
    assert await receipts(store) == []


async def test_many_schedulers_fire_each_tick_once(store: Store, clock: Clock):
    await publish(store, {"name": "each", "cron": "* * * * *"}, EVERY_HOUR)
    for _ in range(5):
        clock.ms += MINUTE
        await asyncio.gather(*(store.schedules.advance("w", clock.ms) for _ in range(8)))
    fired = await ticks(store)
    assert len(fired) == len(set(fired)) + 1 >= 6  # the full hour is a tick of both


async def test_a_scheduler_that_dies_after_any_call_loses_and_doubles_nothing(store: Store, clock: Clock):
    await publish(store, EVERY_HOUR)
    (look,), _ = await store.schedules.looks(clock.ms)
    assert await store.schedules.claim(look, clock.ms) is not None  # and dies
    await store.schedules.advance("w", clock.ms)  # another fires, and dies before it says so
    assert await store.schedules.looks(clock.ms) == ([], clock.ms + 5_000)
    clock.ms += 5_000
    await all_due(Scheduler(store.schedules, clock.now))
    assert len(await receipts(store)) == 1


async def test_a_look_costs_nothing_for_workflows_that_are_not_due(
    store: Store, clock: Clock, scheduler: Scheduler
):
    await publish(store, EVERY_HOUR)
    await publish(store, {"name": "later", "cron": "30 * * * *"}, name="other")
    await all_due(scheduler)
    clock.ms += 10 * MINUTE
    assert await store.schedules.looks(clock.ms) == ([], clock.ms + 20 * MINUTE)


async def test_what_is_noticed_too_late_is_reported_and_not_run(
    store: Store, clock: Clock, scheduler: Scheduler
):
    await publish(store, {**EVERY_HOUR, "catch_up": "30m"})
    clock.ms += 3 * HOUR + 10 * MINUTE
    await all_due(scheduler)
    missed, fired = sorted(await receipts(store), key=lambda each: each["state"])
    assert (missed["state"], missed["run"]) == ("dead", None)
    assert missed["reason"].startswith("3 ticks from ")
    assert fired["state"] == "queued"
    await all_due(scheduler)
    assert len(await receipts(store)) == 2


async def test_params_that_do_not_fit_make_a_dead_receipt(store: Store, scheduler: Scheduler):
    params = {"type": "object", "required": ["feed"]}
    await publish(store, {**EVERY_HOUR, "params": {"fed": "x"}}, params=params)
    await all_due(scheduler)
    (receipt,) = await receipts(store)
    assert receipt["state"] == "dead"
    assert "feed" in receipt["reason"]


async def test_only_the_current_version_has_schedules(store: Store, clock: Clock, scheduler: Scheduler):
    await publish(store, EVERY_HOUR)
    await publish(store, {"name": "half", "cron": "30 * * * *", "catch_up": "1h"})
    clock.ms += 30 * MINUTE
    await all_due(scheduler)
    assert {receipt["source"] for receipt in await receipts(store)} == {"schedule:half"}


async def test_a_version_that_keeps_a_schedule_keeps_its_place(
    store: Store, clock: Clock, scheduler: Scheduler
):
    await publish(store, EVERY_HOUR)
    await all_due(scheduler)
    await publish(store, EVERY_HOUR, description="the same times")
    await all_due(scheduler)
    assert len(await receipts(store)) == 1


async def test_a_schedule_with_other_times_begins_anew(store: Store, clock: Clock, scheduler: Scheduler):
    await publish(store, {**EVERY_HOUR, "catch_up": "10h"})
    await store.batcher.call("HSET", store.keys.ticks("w"), "hourly", clock.ms - 5 * HOUR)
    await publish(store, {"name": "hourly", "cron": "* * * * *", "catch_up": "10h"})
    clock.ms = await store.workers.now()
    await all_due(scheduler)
    assert await receipts(store) == []


async def test_a_workflow_without_schedules_any_more_is_not_looked_at(store: Store, clock: Clock):
    await publish(store, EVERY_HOUR)
    await publish(store)
    assert await store.schedules.looks(clock.ms) == ([], None)
    assert not await store.batcher.call("EXISTS", store.keys.ticks("w"))


async def test_an_archived_workflow_has_no_schedule_and_a_published_one_begins_anew(
    store: Store, clock: Clock, scheduler: Scheduler
):
    await publish(store, EVERY_HOUR)
    await store.workflows.archive("w")
    await all_due(scheduler)
    assert await store.schedules.coming("w", clock.ms) == []
    await publish(store, EVERY_HOUR)
    await all_due(scheduler)
    assert len(await receipts(store)) == 1


async def test_a_publication_during_a_look_is_looked_at_afterwards(store: Store, clock: Clock):
    await publish(store, {"name": "rare", "cron": "0 0 1 1 *"})
    (look,), _ = await store.schedules.looks(clock.ms)
    claimed = await store.schedules.claim(look, clock.ms)
    assert claimed is not None
    await publish(store, EVERY_HOUR)
    await store.schedules.look(claimed, clock.ms - HOUR)  # of what was read before the publication
    (again,), _ = await store.schedules.looks(clock.ms)
    assert again == Look("w", again.score)
    assert float(again.score) < 0


async def test_a_full_queue_keeps_the_tick_due(store: Store, clock: Clock, scheduler: Scheduler):
    await publish(store, EVERY_HOUR)
    full = Schedules(store.batcher, store.keys, store.workflows, Triggers(store.batcher, store.keys, 0))
    (look,), _ = await full.looks(clock.ms)
    with pytest.raises(Backpressure):
        await full.look(look, clock.ms)
    await all_due(scheduler)
    assert len(await receipts(store)) == 1


async def test_the_coming_ticks_are_told(store: Store, clock: Clock, scheduler: Scheduler):
    await publish(store, {**EVERY_HOUR, "time_zone": "Asia/Kolkata"})
    (shown,) = await store.schedules.coming("w", clock.ms)
    assert (shown["name"], shown["cron"], shown["time_zone"], shown["last"]) == (
        "hourly", "0 * * * *", "Asia/Kolkata", None,
    )  # fmt: skip
    following: Any = shown["next"]
    assert len(following) == 5
    assert datetime.fromisoformat(following[0]).minute == 30


async def test_a_paused_workflow_has_no_ticks_and_tells_afterwards_which_passed(
    store: Store, clock: Clock, scheduler: Scheduler
):
    await publish(store, {**EVERY_HOUR, "catch_up": "1d"})
    await store.batcher.call("HSET", store.keys.ticks("w"), "hourly", clock.ms - 4 * HOUR)
    await store.concurrency.pause("w")
    await all_due(scheduler)
    assert await receipts(store) == []
    await store.concurrency.resume("w")
    await all_due(scheduler)
    passed, fired = sorted(await receipts(store), key=lambda each: each["state"])
    assert (passed["state"], fired["state"]) == ("filtered", "queued")
    assert passed["reason"].startswith("3 ticks from ")
    assert passed["reason"].endswith("the workflow was paused")
