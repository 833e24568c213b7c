"""Cancel, pause and resume: asked for once, done by the run's worker, kept from admission at once."""

from __future__ import annotations

import pytest

from app.core.tasks import Task
from app.errors import NotFound
from app.store.nodes import StepReport
from app.store.store import Store

CHAIN = {"a": {"type": "step"}, "b": {"type": "step", "needs": ["a"]}}


async def actions(store: Store, run: str) -> list[str]:
    return [event["action"] for _, event in await store.events.read(run, "0") if event["type"] == "control"]


async def statuses(store: Store, run: str) -> list[str]:
    return [node["status"] for node in (await store.runs.nodes(run))[0]]


class TestCancel:
    async def test_a_live_node_is_told_to_stop_and_the_run_ends_with_its_process(self, store: Store, hand):
        run = await hand.begin(CHAIN)
        call, epoch = await hand.started(run, "a")
        assert not await store.nodes.heartbeat(call, epoch)
        assert await store.control.cancel(run) == "running"
        await hand.decide()
        assert await store.nodes.heartbeat(call, epoch)
        await store.nodes.fail(call, epoch, "Cancelled", "told to stop", retryable=True)
        await hand.decide()
        assert (await store.runs.get(run))["status"] == "cancelled"
        assert await statuses(store, run) == ["cancelled", "cancelled"]
        assert await store.workers.holders() == {}

    async def test_asked_for_twice_it_is_one_signal_and_one_event(self, store: Store, hand):
        run = await hand.begin(CHAIN)
        await store.control.cancel(run)
        await store.control.cancel(run)
        assert len(await hand.inbox(run)) == 1
        assert await actions(store, run) == ["cancel"]

    async def test_a_run_whose_trigger_was_not_taken_is_over_as_soon_as_it_is(self, store: Store, hand):
        await hand.publish({"name": "w", "nodes": CHAIN})
        run = await hand.accept()
        assert await store.control.cancel(run) == "queued"
        await store.triggers.start_run(await hand.queued(), 2)
        await hand.decide()
        assert (await store.runs.get(run))["status"] == "cancelled"
        assert await statuses(store, run) == ["cancelled", "cancelled"]

    async def test_a_won_attempt_stays_won(self, store: Store, hand):
        run = await hand.begin(CHAIN)
        call, epoch = await hand.started(run, "a")
        await store.nodes.checkpoint(
            call, epoch, [StepReport("configure"), StepReport("execute"), StepReport("output", metadata=b"1")]
        )
        await store.control.cancel(run)
        await hand.decide()
        assert not await store.nodes.checkpoint(call, epoch, [StepReport("finalize")])
        await hand.decide()
        assert await statuses(store, run) == ["succeeded", "cancelled"]

    async def test_an_ended_run_stays_as_it_is(self, store: Store, hand):
        run = await hand.begin({"a": {"type": "step"}})
        await hand.finish(run, "a")
        await hand.decide()
        before = await hand.snapshot()
        assert await store.control.cancel(run) == "succeeded"
        assert await store.control.pause(run) == "succeeded"
        assert await store.control.resume(run) == "succeeded"
        assert await hand.snapshot() == before

    async def test_an_unknown_run_is_not_found(self, store: Store):
        for act in (store.control.cancel, store.control.pause, store.control.resume):
            with pytest.raises(NotFound):
                await act("r-nobody")


class TestPause:
    async def test_nothing_of_a_paused_run_is_admitted_until_it_is_resumed(self, store: Store, hand):
        run = await hand.begin(CHAIN)
        await store.control.pause(run)
        assert await hand.admit(Task(run, "a", 1, 0)) == [-1]
        assert (await store.runs.get(run))["paused"] is not None
        assert await store.control.resume(run) == "running"
        await hand.decide()
        assert (await store.runs.get(run))["paused"] is None
        assert await hand.admit(Task(run, "a", 1, 0)) == [1]

    async def test_what_runs_goes_on_and_what_it_makes_ready_waits(self, store: Store, hand):
        run = await hand.begin(CHAIN)
        call, epoch = await hand.started(run, "a")
        await store.control.pause(run)
        steps = [StepReport("configure"), StepReport("execute"), StepReport("output"), StepReport("finalize")]
        assert not await store.nodes.checkpoint(call, epoch, steps)
        await hand.decide()
        assert await statuses(store, run) == ["succeeded", "ready"]
        assert await hand.admit(Task(run, "b", 1, 0)) == [-1]

    async def test_each_is_asked_for_once(self, store: Store, hand):
        run = await hand.begin(CHAIN)
        for act in (store.control.pause, store.control.resume):
            await act(run)
            await act(run)
        assert await actions(store, run) == ["pause", "resume"]
        assert len(await hand.inbox(run)) == 1

    async def test_a_run_paused_before_its_trigger_was_taken_starts_paused(self, store: Store, hand):
        await hand.publish({"name": "w", "nodes": CHAIN})
        run = await hand.accept()
        await store.control.pause(run)
        await store.triggers.start_run(await hand.queued(), 2)
        await hand.decide()
        assert await hand.admit(Task(run, "a", 1, 0)) == [-1]

    async def test_a_paused_run_can_be_cancelled(self, store: Store, hand):
        run = await hand.begin(CHAIN)
        await store.control.pause(run)
        await store.control.cancel(run)
        await hand.decide()
        assert (await store.runs.get(run))["status"] == "cancelled"
