"""A wait node runs nothing and holds no slot: it lets time pass, durably."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


async def test_a_wait_delays_what_needs_it(stage):
    run = await stage.run_of(
        {"pause": {"wait": {"duration": "50ms"}}, "go": {"type": "step", "needs": ["pause"]}}
    )
    assert await stage.ended(run) == "succeeded"
    history = await stage.history(run)
    assert history.index("pause waiting") < history.index("pause succeeded") < history.index("go ready")
    pause = await stage.node(run, "pause")
    waited = datetime.fromisoformat(pause["ended"]) - datetime.fromisoformat(pause["ready"])
    assert waited >= timedelta(milliseconds=50)


async def test_a_wait_until_a_moment_that_has_passed_is_over_at_once(stage):
    moment = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    run = await stage.run_of({"pause": {"wait": {"until": "${{ params.at }}"}}}, {"at": moment})
    assert await stage.ended(run) == "succeeded"


async def test_a_waiting_node_holds_no_slot(stage):
    run = await stage.run_of({"pause": {"wait": {"duration": "30d"}}})
    assert (await stage.until(run, "pause", "waiting"))["waiting_until"] is not None
    assert await stage.store.workers.holders() == {}
