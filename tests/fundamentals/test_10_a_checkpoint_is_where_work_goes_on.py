"""Positions inside execute are checkpointed. After a crash the next program goes on from the last one, not from the start."""

from __future__ import annotations

NODES = {"price": {"type": "step", "retry": {"initial": "10ms"}}}


async def test_the_next_attempt_gets_the_last_position(stage):
    stage.by_hand("price")
    run = await stage.run_of(NODES)
    first = await (await stage.launched("price")).start()
    await first.ends("configure")
    await first.position(1, {"record": 1_000})
    await first.position(2, {"record": 2_000})
    await first.exit(-9)
    second = await (await stage.launched("price")).start()
    assert second.started.step == "configure"
    assert (second.started.seq, second.started.data) == (2, {"record": 2_000})
    await second.succeed({"count": 3_000})
    assert await stage.ended(run) == "succeeded"


async def test_a_step_that_has_ended_is_not_done_again(stage):
    stage.by_hand("price")
    run = await stage.run_of(NODES)
    first = await (await stage.launched("price")).start()
    await first.ends("configure")
    await first.ends("execute")
    await first.exit(1)
    second = await (await stage.launched("price")).start()
    assert second.started.step == "execute"
    await second.ends("output", {"count": 1})
    await second.ends("finalize")
    assert await stage.ended(run) == "succeeded"


async def test_records_that_fail_are_kept_in_a_ledger(stage):
    stage.by_hand("price")
    run = await stage.run_of(NODES)
    price = await (await stage.launched("price")).start()
    assert await price.reject(17, "a negative price") == 1
    assert await price.reject(17, "a negative price") == 1, "by its position, however often it is told"
    await price.succeed()
    await stage.ended(run)
    records, _ = await stage.store.runs.records(run, "price", 10, None)
    assert [(record["index"], record["message"]) for record in records] == [(17, "a negative price")]
