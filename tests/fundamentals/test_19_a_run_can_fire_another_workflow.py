"""A run trigger: the end of a run fires another workflow, once, with a receipt."""

from __future__ import annotations

import asyncio
from typing import Any

NODES = {"a": {"type": "step"}}


def after(workflow: str, **more: Any) -> dict[str, Any]:
    return {"triggers": [{"run": {"name": f"after-{workflow}", "workflow": workflow, **more}}]}


async def runs(stage, workflow: str, count: int = 1) -> list[dict[str, Any]]:
    """The runs of a workflow, when there are so many and all have ended."""
    async with asyncio.timeout(20):
        while True:
            found, _ = await stage.store.runs.list(workflow=workflow)
            if len(found) >= count and all(run["ended"] for run in found):
                return found
            await asyncio.sleep(0.01)


async def receipts(stage, state: str) -> list[dict[str, Any]]:
    """The receipts of a state, once there are any; a page may be empty and not the last."""
    async with asyncio.timeout(20):
        cursor = None
        while True:
            found, cursor = await stage.store.triggers.list(state, 100, cursor)
            if found:
                return found
            await asyncio.sleep(0.01)


async def test_the_end_of_a_run_fires_the_workflows_that_wait_for_it(stage, configure):
    params = {"params": {"from": "${{ event.run }}", "n": "${{ event.output.n }}"}}
    await configure("second", NODES, output={"got": "${{ params }}", "status": "${{ event.status }}"},
                    **after("tutorial", **params))  # fmt: skip
    await configure("never", NODES, **after("tutorial", status="failed"))
    first = await stage.run_of(NODES, output={"n": 3})
    (second,) = await runs(stage, "second")
    assert second["output"] == {"got": {"from": first, "n": 3}, "status": "succeeded"}
    assert second["source"] == "run:after-tutorial"
    assert (await stage.store.triggers.get(second["receipt"]))["state"] == "started"
    assert (await stage.store.runs.list(workflow="never"))[0] == []


async def test_a_version_that_no_longer_waits_is_not_fired(stage, configure):
    await configure("second", NODES, **after("tutorial"))
    await configure("second", NODES)
    await configure("third", NODES, **after("tutorial"))
    run = await stage.run_of(NODES)
    assert await stage.ended(run) == "succeeded"
    await runs(stage, "third")
    assert (await stage.store.runs.list(workflow="second"))[0] == []


async def test_params_that_do_not_fit_leave_a_receipt_that_says_so(stage, configure):
    await configure("second", NODES, params={"required": ["x"]}, **after("tutorial"))
    run = await stage.run_of(NODES)
    assert await stage.ended(run) == "succeeded"
    (receipt,) = await receipts(stage, "dead")
    assert (receipt["workflow"], receipt["run"]) == ("second", None)
    assert "x" in receipt["reason"]


async def test_a_loop_ends_where_it_would_begin_again(stage, configure):
    await configure("tutorial", NODES, **after("third"))
    await configure("second", NODES, **after("tutorial"))
    await configure("third", NODES, **after("second"))
    run = await stage.run_of(NODES)
    assert await stage.ended(run) == "succeeded"
    (receipt,) = await receipts(stage, "rejected")
    assert receipt["reason"] == "a loop of run triggers: tutorial -> second -> third -> tutorial"
    assert len((await stage.store.runs.list())[0]) == 3
