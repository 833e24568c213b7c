"""A stream shared by workers: nothing is lost with a consumer, and deliveries are counted (rules 4 to 6; fault rows 14, 30)."""

from __future__ import annotations

import pytest

from app.store.client import translate
from app.store.keys import GROUP
from app.store.store import Store
from app.store.streams import SharedStream


@pytest.fixture
def one(store: Store) -> SharedStream:
    return store.stream(store.keys.dead, "one")


@pytest.fixture
def two(store: Store) -> SharedStream:
    return store.stream(store.keys.dead, "two")


@pytest.fixture
def add(store: Store):
    async def put(*values: str) -> None:
        for value in values:
            await store.batcher.call("XADD", store.keys.dead, "*", "d", value)

    return put


def values(entries) -> list[bytes]:
    return [entry.fields[b"d"] for entry in entries]


async def test_what_was_added_before_the_first_reader_came_is_read(one: SharedStream, add):
    await add("a", "b")
    assert values(await one.read(10, 1)) == [b"a", b"b"]


async def test_each_entry_goes_to_one_reader(one: SharedStream, two: SharedStream, add):
    await add("a", "b")
    assert values(await one.read(1, 1)) + values(await two.read(10, 1)) == [b"a", b"b"]


async def test_an_empty_stream_gives_nothing(one: SharedStream):
    assert await one.read(10, 1) == []


async def test_a_lost_group_is_made_again_from_the_beginning(one: SharedStream, store: Store, add):
    await one.read(10, 1)
    await add("a")
    await store.batcher.call("XGROUP", "DESTROY", store.keys.dead, GROUP)
    assert values(await one.read(10, 1)) == [b"a"]


async def test_a_deleted_stream_is_made_again(one: SharedStream, store: Store, add):
    await add("a")
    await one.read(10, 1)
    await store.batcher.call("DEL", store.keys.dead)
    assert await one.read(10, 1) == []
    await add("b")
    assert values(await one.read(10, 1)) == [b"b"]


async def test_what_a_dead_reader_held_is_reclaimed_with_its_count_of_deliveries(
    one: SharedStream, two: SharedStream, add
):
    await add("a")
    await one.read(10, 1)
    assert [entry.deliveries for entry in await two.reclaim(0, 10)] == [2]
    assert [entry.deliveries for entry in await one.reclaim(0, 10)] == [3]


async def test_what_is_in_hand_is_not_reclaimed(one: SharedStream, two: SharedStream, add):
    await add("a")
    await one.read(10, 1)
    assert await two.reclaim(60_000, 10) == []


async def test_renewing_keeps_an_entry_and_counts_no_delivery(
    one: SharedStream, two: SharedStream, store: Store, add
):
    await add("a")
    (entry,) = await one.read(10, 1)
    await store.batcher.call("XCLAIM", store.keys.dead, GROUP, "one", 0, entry.id, "IDLE", 50_000, "JUSTID")
    await one.renew([entry.id])
    assert await two.reclaim(40_000, 10) == []
    assert [entry.deliveries for entry in await two.reclaim(0, 10)] == [2]


async def test_an_entry_given_back_is_soon_delivered_again_and_that_delivery_was_not_counted(
    one: SharedStream, two: SharedStream, add
):
    await add("a")
    (entry,) = await one.read(10, 1)
    for _ in range(5):
        await one.give_back(entry, 1_000_000)
        assert await two.reclaim(600_000, 10) == [], "not at once: nobody may be able to read it"
        (entry,) = await two.reclaim(400_000, 10)
        assert entry.deliveries == 1


async def test_what_a_consumer_was_given_and_has_not_handled_is_its_own(
    one: SharedStream, two: SharedStream, add
):
    """A read that is broken off may have been answered: a worker that drains asks what it holds (fault row 4)."""
    await add("a")
    await add("b")
    (first,) = await one.read(1, 1)
    await two.read(10, 1)
    assert [entry.id for entry in await one.own(10)] == [first.id]
    await one.drop(first)
    assert await one.own(10) == []
    assert len(await two.own(10)) == 1


async def test_an_entry_that_was_deleted_while_pending_is_not_delivered(
    one: SharedStream, two: SharedStream, store: Store, add
):
    await add("a", "b")
    (first, _) = await one.read(10, 1)
    await store.batcher.call("XDEL", store.keys.dead, first.id)
    assert values(await two.reclaim(0, 10)) == [b"b"]


async def test_forgetting_consumers_never_drops_what_they_hold(
    one: SharedStream, two: SharedStream, store: Store, add
):
    await add("a")
    await one.read(10, 1)
    await two.read(10, 1)
    await two.forget_consumers(live=set())
    rows = await store.batcher.call("XINFO", "CONSUMERS", store.keys.dead, GROUP)
    assert [row[1] for row in rows] == [b"one"]
    assert values(await store.stream(store.keys.dead, "three").reclaim(0, 10)) == [b"a"]


async def test_live_consumers_are_kept_and_a_missing_group_is_no_error(one: SharedStream, store: Store, add):
    await one.forget_consumers(live=set())
    await add("a")
    await one.read(10, 1)
    await store.batcher.call("XACK", store.keys.dead, GROUP, *[b"0-1"])
    await one.forget_consumers(live={"one"})
    assert len(await store.batcher.call("XINFO", "CONSUMERS", store.keys.dead, GROUP)) == 1


def test_errors_of_the_client_become_ours():
    assert translate(ConnectionResetError()).__class__.__name__ == "StoreUnavailable"
