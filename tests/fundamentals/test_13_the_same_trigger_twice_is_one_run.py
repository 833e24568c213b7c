"""A sender that gives a key may send as often as it likes: the same key and body are one receipt and one run."""

from __future__ import annotations

import asyncio

import pytest

from app.errors import IdempotencyConflict

HELLO = {"name": "hello", "nodes": {"greet": {"type": "step"}}}
KEY = {"scope": "shop", "key": "order-7", "digest": "body"}


async def test_a_repeated_trigger_gets_the_first_receipt_and_run(stage):
    await stage.publish(HELLO)
    await stage.worker()
    accepted = await asyncio.gather(*(stage.trigger("hello", **KEY) for _ in range(20)))
    assert len({(one.receipt, one.run) for one in accepted}) == 1
    assert await stage.ended(accepted[0].run) == "succeeded"
    again = await stage.trigger("hello", **KEY)
    assert (again.run, again.repeated) == (accepted[0].run, True)
    runs, _ = await stage.store.runs.list(workflow="hello")
    assert len(runs) == 1


async def test_the_same_key_with_another_body_is_a_conflict(stage):
    await stage.publish(HELLO)
    await stage.trigger("hello", **KEY)
    with pytest.raises(IdempotencyConflict):
        await stage.trigger("hello", **{**KEY, "digest": "another body"})


async def test_without_a_key_every_trigger_is_a_run_of_its_own(stage):
    await stage.publish(HELLO)
    assert (await stage.trigger("hello")).run != (await stage.trigger("hello")).run
