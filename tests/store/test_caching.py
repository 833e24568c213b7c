"""An entry of the cache is handed out only while the run that it comes from is kept, and then keeps it."""

from __future__ import annotations

import pytest

from app.store.store import Store
from tests.store.test_retention import due, keeper, settings

__all__ = ["keeper", "settings"]
CACHED = {"a": {"type": "step", "cache": {"key": "k", "ttl": "30d"}}}


@pytest.fixture
async def first(hand) -> str:
    """A finished run that left its metadata in the cache."""
    run = await hand.begin(CACHED)
    await hand.finish(run, "a", b'{"uri":"file:part-0.ndjson"}')
    await hand.decide()
    return run


async def test_who_takes_an_entry_keeps_the_run_it_comes_from(store: Store, hand, keeper, first: str):
    """Its metadata may name data of that run."""
    second = await hand.begin(CACHED)
    assert (await hand.node(second, "a"))[b"s"] == b"succeeded"
    await store.retention.postpone(second, await store.workers.now() + 1_000_000)
    assert await keeper(retention=0.0).sweep() == {"packed": 0, "removed": 0}
    assert (await store.runs.get(first))["status"] == "succeeded"
    await due(store, second)
    await due(store, first)
    assert (await keeper(retention=0.0).sweep())["removed"] >= 1


async def test_an_entry_of_a_run_that_is_packed_counts(store: Store, hand, keeper, first: str):
    assert await keeper().sweep() == {"packed": 1, "removed": 0}
    second = await hand.begin(CACHED)
    assert (await hand.node(second, "a"))[b"s"] == b"succeeded"


async def test_an_entry_of_a_run_that_is_gone_is_no_entry(store: Store, hand, keeper, first: str):
    assert await keeper(retention=0.0).sweep() == {"packed": 0, "removed": 1}
    second = await hand.begin(CACHED)
    assert (await hand.node(second, "a"))[b"s"] == b"ready"


async def test_an_entry_of_a_run_that_is_being_removed_is_no_entry(store: Store, hand, first: str):
    assert await store.retention.close(first, 0) == 1
    second = await hand.begin(CACHED)
    assert (await hand.node(second, "a"))[b"s"] == b"ready"
