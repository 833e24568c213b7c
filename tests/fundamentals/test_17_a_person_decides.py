"""An approval waits for a person, without a slot and for as long as it says."""

from __future__ import annotations

import pytest

from app.errors import Conflict

NODES = {"ask": {"approval": {"message": "Publish?"}}, "publish": {"type": "step", "needs": ["ask"]}}


async def decide(stage, run: str, *, approved: bool, ref: str = "ask"):
    return await stage.store.approvals.decide(run, ref, approved=approved, by="anna", comment="yes")


async def test_the_run_goes_on_when_someone_approves(stage):
    run = await stage.run_of(NODES)
    node = await stage.until(run, "ask", "waiting")
    assert node["approval"]["message"] == "Publish?"
    assert await stage.store.workers.holders() == {}
    decision = await decide(stage, run, approved=True)
    assert await stage.ended(run) == "succeeded"
    metadata = (await stage.node(run, "ask"))["metadata"]
    assert metadata == {"approved_by": "anna", "at": decision["at"], "comment": "yes"}


async def test_the_first_decision_counts_and_may_be_repeated(stage):
    run = await stage.run_of(NODES)
    await stage.until(run, "ask", "waiting")
    first = await decide(stage, run, approved=False)
    assert await stage.ended(run) == "failed"
    assert await decide(stage, run, approved=False) == first
    with pytest.raises(Conflict, match="rejected already by anna"):
        await decide(stage, run, approved=True)


async def test_what_does_not_wait_cannot_be_decided(stage):
    stage.by_hand("publish")
    run = await stage.run_of({"publish": {"type": "step"}, "ask": {**NODES["ask"], "needs": ["publish"]}})
    program = await (await stage.launched("publish")).start()
    with pytest.raises(Conflict, match="not asked"):
        await decide(stage, run, approved=True)
    with pytest.raises(Conflict, match="is running"):
        await decide(stage, run, approved=True, ref="publish")
    await program.succeed()
    await stage.until(run, "ask", "waiting")
    await decide(stage, run, approved=True)
    assert await stage.ended(run) == "succeeded"


async def test_nobody_in_time_fails_the_node(stage):
    run = await stage.run_of({"ask": {"approval": {"message": "?", "timeout": "50ms"}}})
    assert await stage.ended(run) == "failed"
    assert (await stage.node(run, "ask"))["error"]["type"] == "approval_timeout"
