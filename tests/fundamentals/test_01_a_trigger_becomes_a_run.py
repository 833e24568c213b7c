"""A trigger is stored durably before anything acts on it. Its receipt can be looked up from then on; a worker makes the run."""

from __future__ import annotations

HELLO = {"name": "hello", "nodes": {"greet": {"type": "step"}}}


async def test_a_trigger_waits_in_its_queue_while_no_worker_is_there(stage):
    await stage.publish(HELLO)
    accepted = await stage.trigger("hello")
    receipt = await stage.store.triggers.get(accepted.receipt)
    assert receipt["state"] == "queued"
    assert (await stage.store.runs.get(accepted.run))["status"] == "queued"


async def test_a_worker_that_comes_later_makes_its_run(stage):
    await stage.publish(HELLO)
    accepted = await stage.trigger("hello", {"name": "Ada"})
    await stage.worker()
    assert await stage.ended(accepted.run) == "succeeded"
    assert (await stage.store.triggers.get(accepted.receipt))["state"] == "started"
    run = await stage.store.runs.get(accepted.run)
    assert (run["workflow"], run["params"], run["receipt"]) == ("hello", {"name": "Ada"}, accepted.receipt)


async def test_a_trigger_of_a_workflow_that_is_not_there_is_dead_and_says_why(stage):
    accepted = await stage.trigger("nowhere")
    await stage.worker()
    while (await stage.store.triggers.get(accepted.receipt))["state"] == "queued":
        pass
    receipt = await stage.store.triggers.get(accepted.receipt)
    assert receipt["state"] == "dead"
    assert "nowhere" in receipt["reason"]
