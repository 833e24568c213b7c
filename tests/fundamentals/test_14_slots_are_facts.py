"""A pool's used slots are the set of those that hold one. What is over the cap waits its turn, fairly between workflows."""

from __future__ import annotations

import asyncio

import pytest

from app.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"global_slots": 1})


async def test_one_slot_is_held_by_one_node_run_at_a_time(stage):
    stage.by_hand("a", "b")
    run = await stage.run_of({"a": {"type": "step"}, "b": {"type": "step"}})
    first = await stage.launched("a")
    assert list(await stage.store.workers.holders()) == [first.task]
    assert (await stage.statuses(run))["b"] == "ready"
    await first.succeed()
    second = await stage.launched("b")
    assert list(await stage.store.workers.holders()) == [second.task]
    await second.succeed()
    assert await stage.ended(run) == "succeeded"
    assert await stage.store.workers.holders() == {}


async def test_a_node_takes_the_slots_of_all_its_pools_at_once_or_none(stage):
    await stage.store.pools.put("global", 9)
    await stage.store.pools.put("db", 1)
    stage.by_hand("a", "b")
    run = await stage.run_of(
        {"a": {"type": "step", "pools": ["db"]}, "b": {"type": "step", "pools": ["db", "gpu"]}}
    )
    first = await stage.launched("a")
    assert (await stage.statuses(run))["b"] == "ready"
    assert await stage.store.pools.holders("gpu") == []
    await first.succeed()
    await (await stage.launched("b")).succeed()
    assert await stage.ended(run) == "succeeded"


async def test_the_crowd_of_one_workflow_delays_the_one_of_another_by_one_turn(stage):
    order: list[str] = []
    gate = asyncio.Event()

    async def plays(program) -> None:
        order.append(program.task.ref.partition(":")[0])
        await gate.wait()
        await program.succeed()

    stage.plays("crowd", plays)
    stage.plays("one", plays)
    await stage.publish({"name": "small", "nodes": {"one": {"type": "step"}}})
    await stage.run_of({"crowd": {"type": "step", "map": {"over": list(range(1000))}}})
    small = (await stage.trigger("small")).run
    await stage.until(small, "one", "ready")
    gate.set()
    assert await stage.ended(small) == "succeeded"
    assert order.index("one") <= 2, "one runs, one had its turn, then it is the other's"
