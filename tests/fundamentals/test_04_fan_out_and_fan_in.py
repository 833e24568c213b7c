"""Nodes that need the same node run side by side; a node that needs several waits for all of them."""

from __future__ import annotations

DIAMOND = {
    "split": {"type": "step"},
    "price": {"type": "step", "needs": ["split"]},
    "images": {"type": "step", "needs": ["split"]},
    "merge": {"type": "step", "needs": ["price", "images"]},
}


async def test_branches_run_at_the_same_time_and_meet(stage):
    stage.by_hand("price", "images", "merge")
    run = await stage.run_of(DIAMOND)
    price, images = await stage.launched("price"), await stage.launched("images")
    await price.succeed({"n": 1})
    await stage.until(run, "price", "succeeded")
    assert (await stage.statuses(run))["merge"] == "pending"
    await images.succeed({"n": 2})
    merge = await (await stage.launched("merge")).start()
    assert merge.started.inputs == {"price": b'{"n":1}', "images": b'{"n":2}'}
    await merge.succeed()
    assert await stage.ended(run) == "succeeded"


async def test_a_wide_fan_out_meets_too(stage):
    middle = {f"part_{i}": {"type": "step", "needs": ["split"]} for i in range(60)}
    run = await stage.run_of(
        {"split": {"type": "step"}, **middle, "merge": {"type": "step", "needs": list(middle)}}
    )
    assert await stage.ended(run) == "succeeded"
    history = await stage.history(run)
    assert history.index("merge ready") > max(history.index(f"part_{i} succeeded") for i in range(60))
