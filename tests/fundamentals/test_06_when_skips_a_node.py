"""A node whose condition is false is skipped; so is what needs it, unless its join lets skipped nodes pass."""

from __future__ import annotations


async def test_a_node_whose_condition_is_false_is_skipped(stage):
    stage.plays("merge", lambda program: program.succeed({"count": 60}))
    run = await stage.run_of({
        "merge": {"type": "step"},
        "approve": {"type": "step", "needs": ["merge"], "when": "nodes.merge.metadata.count > 10000"},
        "strict": {"type": "step", "needs": ["merge", "approve"]},
        "publish": {"type": "step", "needs": ["merge", "approve"], "join": "none_failed"},
    })  # fmt: skip
    assert await stage.ended(run) == "succeeded"
    assert await stage.statuses(run) == {
        "merge": "succeeded", "approve": "skipped", "strict": "skipped", "publish": "succeeded"
    }  # fmt: skip


async def test_an_edge_has_a_condition_of_its_own(stage):
    edge = {"node": "check", "when": "nodes.check.metadata.by == 'nobody'"}
    run = await stage.run_of({"check": {"type": "step"}, "mend": {"type": "step", "needs": [edge]}})
    await stage.ended(run)
    assert (await stage.statuses(run))["mend"] == "skipped"
