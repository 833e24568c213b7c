"""What happens below a failure is the decision of each node's join."""

from __future__ import annotations

import pytest

FAILS = {"max_attempts": 1}


@pytest.mark.parametrize(("join", "status"), [
    ("all_succeeded", "blocked"), ("none_failed", "blocked"), ("all_done", "succeeded"), ("any_succeeded", "succeeded"),
])  # fmt: skip
async def test_below_one_failure_and_one_success(stage, join: str, status: str):
    stage.plays("bad", lambda program: program.exit(1))
    nodes = {"bad": {"type": "step", "retry": FAILS}, "good": {"type": "step"}}
    run = await stage.run_of({**nodes, "below": {"type": "step", "needs": ["bad", "good"], "join": join}})
    assert await stage.ended(run) == "failed"
    assert await stage.statuses(run) == {"bad": "failed", "good": "succeeded", "below": status}


async def test_a_failure_that_is_allowed_is_shown_and_harms_nothing(stage):
    stage.plays("bad", lambda program: program.exit(1))
    bad = {"type": "step", "retry": FAILS, "allow_failure": True}
    run = await stage.run_of({"bad": bad, "below": {"type": "step", "needs": ["bad"]}})
    assert await stage.ended(run) == "succeeded"
    assert await stage.statuses(run) == {"bad": "failed", "below": "succeeded"}
