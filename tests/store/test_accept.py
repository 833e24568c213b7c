"""The accept script: dedupe and enqueue in one step (B1), and start_run: a trigger becomes a run once (M9)."""

from __future__ import annotations

import asyncio

import pytest

from app.errors import Backpressure, IdempotencyConflict, NotFound
from app.store.store import Store
from app.store.triggers import DEDUPE_MS, RECEIPT_MS, Trigger, Triggers

NODES = {"a": {"type": "step"}}


def keyed(digest: str = "d1", **more) -> Trigger:
    return Trigger("w", 1, "api", {}, scope="s", key="k", digest=digest, **more)


async def test_an_accepted_trigger_has_a_receipt_and_is_in_the_queue(store: Store):
    accepted = await store.triggers.accept(Trigger("w", 1, "api", {"x": 1}))
    receipt = await store.triggers.get(accepted.receipt)
    assert (receipt["state"], receipt["run"], receipt["workflow"]) == ("queued", accepted.run, "w")
    assert await store.batcher.call("XLEN", store.keys.triggers) == 1


async def test_the_same_key_and_body_give_the_first_receipt_and_run(store: Store):
    first = await store.triggers.accept(keyed())
    again = await store.triggers.accept(keyed())
    assert again.repeated
    assert (again.receipt, again.run) == (first.receipt, first.run)
    assert await store.batcher.call("XLEN", store.keys.triggers) == 1


async def test_the_same_key_with_another_body_is_a_conflict_and_writes_nothing(store: Store, hand):
    await store.triggers.accept(keyed())
    before = await hand.snapshot()
    with pytest.raises(IdempotencyConflict):
        await store.triggers.accept(keyed("d2"))
    assert await hand.snapshot() == before


async def test_a_hundred_at_once_are_one_run(store: Store):
    accepted = await asyncio.gather(*(store.triggers.accept(keyed()) for _ in range(100)))
    assert len({one.receipt for one in accepted}) == 1
    assert sum(not one.repeated for one in accepted) == 1
    assert await store.batcher.call("XLEN", store.keys.triggers) == 1


async def test_past_the_depth_of_the_queue_nothing_is_written(store: Store, hand):
    small = Triggers(store.batcher, store.keys, backlog=1)
    await small.accept(Trigger("w", 1, "api", {}))
    before = await hand.snapshot()
    with pytest.raises(Backpressure):
        await small.accept(keyed())
    assert await hand.snapshot() == before


async def test_a_repeat_is_answered_even_past_the_depth(store: Store):
    small = Triggers(store.batcher, store.keys, backlog=1)
    first = await small.accept(keyed())
    assert (await small.accept(keyed())).receipt == first.receipt


async def test_a_trigger_that_cannot_become_a_run_has_a_receipt_that_says_why(store: Store):
    accepted = await store.triggers.accept(keyed(dead="feed is missing"))
    receipt = await store.triggers.get(accepted.receipt)
    assert (receipt["state"], receipt["reason"], receipt["run"]) == ("dead", "feed is missing", None)
    assert await store.batcher.call("XLEN", store.keys.triggers) == 0
    again = await store.triggers.accept(keyed(dead="feed is missing"))
    assert (again.state, again.run, again.receipt) == ("dead", None, accepted.receipt)


async def test_receipts_outlive_their_keys_and_both_end(store: Store):
    accepted = await store.triggers.accept(keyed())
    receipt_ms = await store.batcher.call("PTTL", store.keys.receipt(accepted.receipt))
    key_ms = await store.batcher.call("PTTL", store.keys.dedupe("s", "k"))
    assert DEDUPE_MS - 60_000 < key_ms <= DEDUPE_MS < RECEIPT_MS - 60_000 < receipt_ms <= RECEIPT_MS


async def test_there_is_no_receipt_that_was_not_given(store: Store):
    with pytest.raises(NotFound):
        await store.triggers.get("t0")


async def test_a_trigger_becomes_a_run_once_however_often_it_is_delivered(store: Store, hand):
    await hand.publish({"name": "w", "nodes": NODES})
    run = await hand.accept()
    queued = await hand.queued()
    assert await store.triggers.start_run(queued, 1) is True
    before = await hand.snapshot()
    assert await store.triggers.start_run(queued, 1) is False
    assert await hand.snapshot() == before
    assert (await store.runs.get(run))["status"] == "queued"
    assert await store.batcher.call("XLEN", store.keys.active) == 1


async def test_starting_the_run_acknowledges_and_deletes_its_trigger(store: Store, hand):
    await hand.begun(NODES)
    assert await store.batcher.call("XLEN", store.keys.triggers) == 0
    assert (await store.batcher.call("XPENDING", store.keys.triggers, "workers"))[0] == 0


async def test_a_buried_trigger_becomes_no_run_however_late_it_is_placed(store: Store, hand):
    """A worker that was frozen while another one buried it: the receipt stands."""
    await hand.publish({"name": "w", "nodes": NODES})
    run = await hand.accept()
    queued = await hand.queued()
    await store.triggers.bury(queued.entry, queued.receipt, queued.payload, "damaged")
    assert await store.triggers.start_run(queued, 1) is False
    assert (await store.triggers.get(queued.receipt))["state"] == "dead"
    assert await store.batcher.call("EXISTS", store.keys.run(run)) == 0


async def test_a_buried_trigger_is_a_dead_letter_once_and_its_receipt_says_why(store: Store, hand):
    accepted = await store.triggers.accept(Trigger("gone", 1, "api", {}))
    queued = await hand.queued()
    for _ in range(2):
        await store.triggers.bury(queued.entry, queued.receipt, queued.payload, "no such version")
    receipt = await store.triggers.get(accepted.receipt)
    assert (receipt["state"], receipt["reason"]) == ("dead", "no such version")
    assert await store.batcher.call("XLEN", store.keys.dead) == 1
    assert await store.batcher.call("XLEN", store.keys.triggers) == 0
