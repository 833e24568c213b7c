"""start: the newest instance holds the attempt, by a new epoch (B2)."""

from __future__ import annotations

import pytest

from app.core.tasks import Task
from app.errors import NotFound, StaleEpoch
from app.store.nodes import NodeCall, StepReport
from app.store.store import Store

ONE = {"a": {"type": "step", "config": {"percent": "${{ 2 + 3 }}"}}}


@pytest.fixture
async def call(hand) -> NodeCall:
    run = await hand.begin(ONE)
    assert await hand.admit(Task(run, "a", 1, 0)) == [1]
    return NodeCall(run, "a", 1)


async def test_the_first_instance_gets_epoch_1_and_its_config(store: Store, call: NodeCall):
    started = await store.nodes.start(call, "pod-1", 60_000, [])
    assert (started.epoch, started.attempt, started.config) == (1, 1, {"percent": 5})
    assert (started.step, started.seq, started.data, started.metadata) == (None, None, None, None)
    assert (await store.runs.node(call.run, "a"))["status"] == "running"


async def test_the_same_instance_gets_the_same_answer_again(store: Store, hand, call: NodeCall):
    first = await store.nodes.start(call, "pod-1", 60_000, [])
    before = await hand.snapshot()
    assert await store.nodes.start(call, "pod-1", 60_000, []) == first
    assert await hand.snapshot() == before


async def test_a_new_instance_gets_a_new_epoch_and_the_last_checkpoint(store: Store, call: NodeCall):
    await store.nodes.start(call, "pod-1", 60_000, [])
    await store.nodes.checkpoint(
        call, 1, [StepReport("configure"), StepReport("execute", seq=4, data=b'{"at":4}')]
    )
    started = await store.nodes.start(call, "pod-2", 60_000, [])
    assert (started.epoch, started.step, started.seq, started.data) == (2, "configure", 4, {"at": 4})


async def test_the_older_instance_is_refused_everywhere_and_changes_nothing(
    store: Store, hand, call: NodeCall
):
    await store.nodes.start(call, "pod-1", 60_000, [])
    await store.nodes.start(call, "pod-2", 60_000, [])
    before = await hand.snapshot()
    with pytest.raises(StaleEpoch):
        await store.nodes.checkpoint(call, 1, [StepReport("configure")])
    with pytest.raises(StaleEpoch):
        await store.nodes.heartbeat(call, 1)
    with pytest.raises(StaleEpoch):
        await store.nodes.records(call, 1, [{"index": 0, "type": "T", "message": "m"}])
    with pytest.raises(StaleEpoch):
        await store.nodes.fail(call, 1, "T", "m", retryable=True)
    assert await hand.snapshot() == before


async def test_an_instance_of_another_attempt_is_refused(store: Store, hand, call: NodeCall):
    before = await hand.snapshot()
    for attempt in (0, 2):
        with pytest.raises(StaleEpoch):
            await store.nodes.start(NodeCall(call.run, "a", attempt), "pod-1", 60_000, [])
    assert await hand.snapshot() == before


async def test_an_attempt_that_ended_cannot_be_started_again(store: Store, hand, call: NodeCall):
    await store.nodes.start(call, "pod-1", 60_000, [])
    await store.nodes.fail(call, 1, "Broken", "no", retryable=False)
    await hand.decide()
    with pytest.raises(StaleEpoch):
        await store.nodes.start(call, "pod-1", 60_000, [])


async def test_there_is_no_node_run_that_has_not_become_ready(store: Store, call: NodeCall):
    with pytest.raises(NotFound):
        await store.nodes.start(NodeCall(call.run, "nowhere", 1), "pod-1", 60_000, [])


async def test_start_brings_the_metadata_of_the_nodes_upstream(store: Store, hand):
    run = await hand.begin({"a": {"type": "step"}, "b": {"type": "step", "needs": ["a"]}})
    await hand.finish(run, "a", b'{"uri":"file:x"}')
    await hand.decide()
    await hand.admit(Task(run, "b", 1, 0))
    started = await store.nodes.start(NodeCall(run, "b", 1), "pod-1", 60_000, ["a"])
    assert started.inputs == {"a": b'{"uri":"file:x"}'}


async def test_a_new_attempt_starts_from_the_checkpoint_of_the_one_before(store: Store, hand):
    run = await hand.begin({"a": {"type": "step", "retry": {"initial": "1ms"}}})
    call, epoch = await hand.started(run, "a")
    await store.nodes.checkpoint(
        call, epoch, [StepReport("configure"), StepReport("execute", seq=9, data=b"90")]
    )
    await store.nodes.fail(call, epoch, "Broken", "no", retryable=True)
    await hand.decide()
    from app.core.signals import Signal, SignalKind

    while (await store.runs.node(run, "a"))["status"] == "waiting":
        await hand.signal(run, Signal(SignalKind.DUE, "a"))
        await hand.decide()
    assert await hand.admit(Task(run, "a", 2, 0)) == [1]
    started = await store.nodes.start(NodeCall(run, "a", 2), "pod-2", 60_000, [])
    assert (started.epoch, started.step, started.seq, started.data) == (2, "configure", 9, 90)
