"""With `cache` the metadata of a node run that succeeded is used again, for its time, within its workflow."""

from __future__ import annotations

NODES = {"a": {"type": "step", "cache": {"key": "${{ params.day }}", "ttl": "1h"}}}


async def test_a_second_run_with_the_same_key_does_not_run_the_node(stage):
    first = await stage.run_of(NODES, {"day": "monday"})
    assert await stage.ended(first) == "succeeded"
    second = (await stage.trigger("tutorial", {"day": "monday"})).run
    assert await stage.ended(second) == "succeeded"
    node = await stage.node(second, "a")
    assert (node["metadata"], node["attempt"]) == ({"by": "a"}, 0)
    assert (node["cached_from"]["run"], node["cached_from"]["node"]) == (first, "a")
    third = (await stage.trigger("tutorial", {"day": "tuesday"})).run
    assert await stage.ended(third) == "succeeded"
    assert "cached_from" not in await stage.node(third, "a")


async def test_an_entry_that_has_expired_runs_the_node_again(stage):
    first = await stage.run_of(NODES, {"day": "monday"})
    assert await stage.ended(first) == "succeeded"
    keys = await stage.store.batcher.call("KEYS", stage.store.keys.cached("*"))
    ttl = await stage.store.batcher.call("PTTL", *keys)
    assert 3_500_000 < ttl <= 3_600_000
    await stage.store.batcher.call("PEXPIRE", *keys, 0)
    second = (await stage.trigger("tutorial", {"day": "monday"})).run
    assert await stage.ended(second) == "succeeded"
    assert "cached_from" not in await stage.node(second, "a")
