"""A node run goes from pending to succeeded; its program ends four steps, each checkpointed, and leaves metadata."""

from __future__ import annotations


async def test_every_transition_and_every_step_is_recorded_in_order(stage):
    run = await stage.run_of({"read": {"type": "step"}})
    assert await stage.ended(run) == "succeeded"
    assert await stage.history(run) == [
        "run queued", "run running",
        "read ready", "read starting", "read running",
        "read configure", "read execute", "read output", "read finalize",
        "read succeeded", "run succeeded",
    ]  # fmt: skip


async def test_what_output_gave_is_the_nodes_metadata(stage):
    stage.plays("read", lambda program: program.succeed({"uri": "file:feed.ndjson", "count": 500}))
    run = await stage.run_of({"read": {"type": "step"}})
    await stage.ended(run)
    assert (await stage.node(run, "read"))["metadata"] == {"uri": "file:feed.ndjson", "count": 500}


async def test_a_program_that_never_learned_the_protocol_succeeds_by_exit_0(stage):
    stage.plays("read", lambda program: program.exit(0, output={"count": 3}))
    run = await stage.run_of({"read": {"type": "step"}})
    assert await stage.ended(run) == "succeeded"
    assert (await stage.node(run, "read"))["metadata"] == {"count": 3}
