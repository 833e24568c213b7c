"""A node can be a run of another workflow: its output is the node's metadata, and it shares its fate."""

from __future__ import annotations

from itertools import pairwise

import pytest

CHILD = {"work": {"type": "step"}}
MORE = {"properties": {"more": {"type": "boolean"}}}


async def test_the_output_of_the_child_run_is_the_metadata_of_the_node(stage, configure):
    await configure("child", CHILD, output={"by": "${{ nodes.work.metadata.by }}"})
    run = await stage.run_of({"sub": {"workflow": "child"}})
    assert await stage.ended(run) == "succeeded"
    node = await stage.node(run, "sub")
    assert node["metadata"] == {"by": "work"}
    child = await stage.store.runs.get(node["child"])
    assert child["parent"] == {"run": run, "node": "sub", "attempt": 1}
    assert child["status"] == "succeeded"
    assert await stage.store.retention.pins(node["child"]) == (1, True), (
        "its data is kept as long as its parent"
    )


async def test_the_params_of_the_child_run_come_from_the_node_and_get_the_childs_defaults(stage, configure):
    schema = {"properties": {"brand": {"type": "string"}, "size": {"type": "integer", "default": 7}}}
    await configure("child", CHILD, params=schema, output={"all": "${{ params }}"})
    nodes = {"sub": {"workflow": "child", "config": {"brand": "${{ params.brand }}"}}}
    run = await stage.run_of(nodes, {"brand": "acme"})
    assert await stage.ended(run) == "succeeded"
    assert (await stage.node(run, "sub"))["metadata"] == {"all": {"brand": "acme", "size": 7}}


async def test_a_failure_comes_up_and_a_retry_is_a_new_child_run(stage, configure):
    async def fails(program):
        await (await program.start()).fail(retryable=False)
        await program.exit(1)

    await configure("child", CHILD)
    stage.plays("work", fails)
    run = await stage.run_of({"sub": {"workflow": "child", "retry": {"max_attempts": 2, "initial": "10ms"}}})
    assert await stage.ended(run) == "failed"
    node = await stage.node(run, "sub")
    assert (node["attempt"], node["error"]["type"]) == (2, "child_failed")
    children, _ = await stage.store.runs.list(workflow="child")
    assert [child["status"] for child in children] == ["failed", "failed"]


async def test_cancel_goes_down(stage, configure):
    await configure("child", CHILD)
    stage.by_hand("work")
    run = await stage.run_of({"sub": {"workflow": "child"}})
    program = await (await stage.launched("work")).start()
    child = (await stage.node(run, "sub"))["child"]
    await stage.store.control.cancel(run)
    assert await stage.ended(run) == "cancelled"
    async for _, event in stage.store.events.subscribe(child):
        if event.get("action") == "cancel":
            break
    await program.exit(143)
    assert await stage.ended(child) in ("cancelled", "failed")


async def test_params_that_do_not_fit_fail_the_node_and_name_the_place(stage, configure):
    await configure(
        "child", CHILD, params={"required": ["brand"], "properties": {"brand": {"type": "string"}}}
    )
    run = await stage.run_of({"sub": {"workflow": {"name": "child", "params": {"brand": 3}}}})
    assert await stage.ended(run) == "failed"
    error = (await stage.node(run, "sub"))["error"]
    assert error["type"] == "child_params"
    assert "nodes/sub/workflow/params/brand" in error["message"]


async def test_a_workflow_that_is_not_there_or_archived_fails_the_node(stage, configure):
    await configure("old", CHILD)
    await configure("child", CHILD)
    await stage.store.workflows.archive("old")
    run = await stage.run_of({"none": {"workflow": "none"}, "old": {"workflow": "old"},
                              "version": {"workflow": {"name": "child", "version": 9}}})  # fmt: skip
    assert await stage.ended(run) == "failed"
    errors = {name: (await stage.node(run, name))["error"]["type"] for name in ("none", "old", "version")}
    assert errors == {"none": "child_missing", "old": "child_archived", "version": "child_missing"}


async def test_a_version_can_be_named_else_it_is_the_newest_when_the_child_run_starts(stage, configure):
    await configure("child", CHILD, output={"v": 1})
    assert await configure("child", CHILD, output={"v": 2}) == 2
    run = await stage.run_of(
        {"old": {"workflow": {"name": "child", "version": 1}}, "new": {"workflow": "child"}}
    )
    assert await stage.ended(run) == "succeeded"
    assert [(await stage.node(run, name))["metadata"]["v"] for name in ("old", "new")] == [1, 2]


async def test_a_workflow_that_starts_itself_ends_at_a_depth(stage, configure):
    nodes = {"again": {"workflow": "tutorial", "retry": {"max_attempts": 1}}}
    await configure("tutorial", nodes)
    run = await stage.run_of(nodes)
    assert await stage.ended(run) == "failed"
    runs, _ = await stage.store.runs.list(workflow="tutorial")
    assert len(runs) == 1 + 8


async def test_a_child_run_that_its_workflow_has_no_place_for_is_a_failed_attempt(stage, configure):
    await configure("child", CHILD, concurrency={"max": 1, "on_limit": "reject"})
    stage.by_hand("work")
    first = await stage.run_of({"one": {"workflow": "child"}})
    program = await (await stage.launched("work")).start()
    await stage.publish(
        {"name": "other", "nodes": {"two": {"workflow": "child", "retry": {"max_attempts": 1}}}}
    )
    second = (await stage.trigger("other")).run
    assert await stage.ended(second) == "failed"
    node = await stage.node(second, "two")
    assert node["error"]["type"] == "child_rejected"
    assert "on_limit is reject" in node["error"]["message"]
    await program.succeed()
    assert await stage.ended(first) == "succeeded"


@pytest.mark.parametrize("on_limit", ["queue", "reject", "cancel_running"])
async def test_a_child_run_does_not_wait_for_the_place_of_a_run_above_it(stage, configure, on_limit):
    """Its parent keeps the place until the child has ended. Here the child is two levels below it."""
    nodes = {"down": {"workflow": "between", "retry": {"max_attempts": 1}}}
    await configure("tutorial", nodes, concurrency={"max": 1, "on_limit": on_limit})
    await configure("between", {"up": {"workflow": "tutorial", "retry": {"max_attempts": 3}}})
    await stage.worker()
    run = (await stage.trigger("tutorial")).run
    assert await stage.ended(run) == "failed"
    (between,), _ = await stage.store.runs.list(workflow="between")
    node = await stage.node(between["id"], "up")
    assert (node["attempt"], node["error"]["type"]) == (1, "child_rejected")
    assert f"the run {run} above it" in node["error"]["message"]


async def test_a_child_run_takes_a_free_place_beside_the_run_above_it(stage, configure):
    nodes = {"again": {"workflow": "tutorial", "when": "params.more", "config": {"more": False}}}
    await configure("tutorial", nodes, params=MORE, concurrency={"max": 2})
    await stage.worker()
    run = (await stage.trigger("tutorial", {"more": True})).run
    assert await stage.ended(run) == "succeeded"


async def test_a_child_run_waits_for_its_place_and_its_node_with_it(stage, configure):
    await configure("child", CHILD, concurrency={"max": 1})
    run = await stage.run_of({"m": {"workflow": "child", "map": {"over": [1, 2, 3]}}})
    assert await stage.ended(run) == "succeeded"
    children, _ = await stage.store.runs.list(workflow="child")
    spans = sorted((child["started"], child["ended"]) for child in children)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
