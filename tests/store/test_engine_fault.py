"""A run that the engine had to end keeps no slot: each attempt gives its own back when it is over (B3)."""

from __future__ import annotations

from app.core.decide import fail_run
from app.core.signals import Signal, SignalKind
from app.core.tasks import Task
from app.store.nodes import StepReport
from app.store.store import Store

STEPS = [StepReport("configure"), StepReport("execute"), StepReport("output"), StepReport("finalize")]


async def end_by_fault(store: Store, hand, run: str) -> None:
    """What a worker does with a run that cannot be decided any more."""
    await hand.signal(run, Signal(SignalKind.DUE, "a"))
    entry, loaded = await hand.claim(), await hand.load(run)
    changes = fail_run(loaded.view, loaded.now, "a fault")
    changes.consumed = len(loaded.raw)
    await store.engine.commit(loaded, entry.id, changes)


async def test_live_attempts_of_a_failed_run_give_their_slots_back(store: Store, hand):
    run = await hand.begin({"a": {"type": "step"}, "b": {"type": "step"}, "c": {"type": "step"}})
    call, epoch = await hand.started(run, "a")
    await hand.started(run, "b")
    await end_by_fault(store, hand, run)

    assert await hand.admit(Task(run, "c", 1, 0)) == [-1], "nothing of an ended run starts"
    await store.nodes.checkpoint(call, epoch, STEPS)
    await store.workers.exited(run, Signal(SignalKind.EXIT, "b", attempt=1, launch=0, code=-9))
    await hand.decide()
    assert await store.workers.holders() == {}
    assert {(await store.runs.node(run, ref))["status"] for ref in "ab"} == {"cancelled"}
    assert (await store.runs.get(run))["status"] == "failed"


async def test_a_process_that_goes_on_for_a_failed_run_is_told_to_stop(store: Store, hand):
    run = await hand.begin({"a": {"type": "step"}})
    call, epoch = await hand.started(run, "a")
    await end_by_fault(store, hand, run)

    await hand.signal(run, Signal(SignalKind.DUE, "a"))
    await hand.decide()
    assert await store.nodes.heartbeat(call, epoch) is True
