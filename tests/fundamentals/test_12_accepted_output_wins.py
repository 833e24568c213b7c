"""When output is accepted the attempt is won: however its process ends, the node run succeeds."""

from __future__ import annotations

import pytest

ONCE = {"price": {"type": "step", "retry": {"max_attempts": 1}}}


@pytest.mark.parametrize("code", [0, 1, -9, 42])
async def test_however_the_process_ends_after_its_output_the_node_has_succeeded(stage, code: int):
    stage.by_hand("price")
    run = await stage.run_of(ONCE)
    price = await (await stage.launched("price")).start()
    for step in ("configure", "execute"):
        await price.ends(step)
    await price.ends("output", {"count": 3})
    await price.exit(code)
    assert await stage.ended(run) == "succeeded"
    assert (await stage.node(run, "price"))["metadata"] == {"count": 3}


async def test_a_process_that_ends_before_its_output_has_not_won(stage):
    stage.by_hand("price")
    run = await stage.run_of(ONCE)
    price = await (await stage.launched("price")).start()
    for step in ("configure", "execute"):
        await price.ends(step)
    await price.exit(0)
    assert await stage.ended(run) == "failed"
    assert (await stage.node(run, "price"))["error"]["type"] == "incomplete"
