"""A pool's used slots are the set of those that hold one. What is over the cap waits its turn, in the order of waiting."""

from __future__ import annotations

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
