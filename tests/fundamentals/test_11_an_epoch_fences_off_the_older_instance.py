"""Two processes may believe they are the same attempt. The newest holds it; the older one is refused, and must exit."""

from __future__ import annotations

import pytest

from app.errors import StaleEpoch

NODES = {"price": {"type": "step", "retry": {"initial": "10ms"}}}


async def test_the_newest_instance_holds_the_attempt(stage):
    stage.by_hand("price")
    run = await stage.run_of(NODES)
    zombie = await (await stage.launched("price")).start()
    newer = await zombie.again("pod-b").start()
    assert (zombie.epoch, newer.epoch) == (1, 2)
    with pytest.raises(StaleEpoch):
        await zombie.ends("configure")
    await newer.succeed({"by": "newer"})
    assert await stage.ended(run) == "succeeded"
    with pytest.raises(StaleEpoch):
        await zombie.ends("output", {"by": "zombie"})
    assert (await stage.node(run, "price"))["metadata"] == {"by": "newer"}


async def test_an_instance_that_asks_again_gets_the_same_answer(stage):
    stage.by_hand("price")
    run = await stage.run_of(NODES)
    price = await (await stage.launched("price")).start()
    first = price.started
    assert (await price.start()).started == first
    await price.succeed()
    assert await stage.ended(run) == "succeeded"


async def test_a_program_of_an_earlier_attempt_is_refused(stage):
    stage.by_hand("price")
    run = await stage.run_of(NODES)
    first = await (await stage.launched("price")).start()
    await first.exit(1)
    second = await (await stage.launched("price")).start()
    with pytest.raises(StaleEpoch):
        await first.ends("configure")
    await second.succeed()
    assert await stage.ended(run) == "succeeded"
