"""A node starts when the node it needs has succeeded, and gets that node's metadata: never the data itself."""

from __future__ import annotations


async def test_a_node_starts_only_after_the_one_it_needs(stage):
    stage.by_hand("read", "price")
    run = await stage.run_of({"read": {"type": "step"}, "price": {"type": "step", "needs": ["read"]}})
    read = await stage.launched("read")
    assert await stage.statuses(run) == {"read": "starting", "price": "pending"}
    await read.succeed({"count": 2})
    price = await stage.launched("price")
    await price.start()
    assert price.started.inputs == {"read": b'{"count":2}'}
    await price.succeed()
    assert await stage.ended(run) == "succeeded"


async def test_config_is_rendered_once_from_params_and_upstream_metadata(stage):
    stage.plays("read", lambda program: program.succeed({"count": 2}))
    stage.by_hand("price")
    config = {"percent": "${{ params.percent }}", "note": "${{ nodes.read.metadata.count }} products"}
    nodes = {"read": {"type": "step"}, "price": {"type": "step", "needs": ["read"], "config": config}}
    await stage.run_of(nodes, {"percent": 5})
    price = await (await stage.launched("price")).start()
    assert price.started.config == {"percent": 5, "note": "2 products"}
    await price.succeed()


async def test_the_runs_own_output_is_rendered_when_it_ends(stage):
    run = await stage.run_of({"read": {"type": "step"}}, output={"by": "${{ nodes.read.metadata.by }}"})
    await stage.ended(run)
    assert (await stage.store.runs.get(run))["output"] == {"by": "read"}
