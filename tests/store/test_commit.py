"""The commit script: compare everything, then write everything, then acknowledge."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from app.core.signals import Signal, SignalKind
from app.core.states import STEPS
from app.core.tasks import Task
from app.errors import CommitConflict
from app.store.engine import Guess
from app.store.nodes import StepReport
from app.store.store import Store

CHAIN = {"a": {"type": "step"}, "b": {"type": "step", "needs": ["a"]}}


async def test_a_commit_writes_all_of_a_decision_and_acknowledges(store: Store, hand):
    run = await hand.begun(CHAIN)
    await hand.decide()
    assert (await store.runs.get(run))["status"] == "running"
    assert [each.task for each in await store.admission.queued()] == [Task(run, "a", 1, 0)]
    assert await hand.inbox(run) == []
    assert await store.batcher.call("XLEN", store.keys.active) == 0
    assert (await store.batcher.call("XPENDING", store.keys.active, "workers"))[0] == 0


async def test_of_two_claimants_one_commits_and_the_other_writes_nothing(store: Store, hand):
    run = await hand.begun(CHAIN)
    entry = await hand.claim()
    first, second = await hand.decided(run), await hand.decided(run)
    await store.engine.commit(first[0], entry.id, first[1])
    before = await hand.snapshot()
    with pytest.raises(CommitConflict, match="revision"):
        await store.engine.commit(second[0], entry.id, second[1])
    assert await hand.snapshot() == before


async def test_a_node_run_that_moved_meanwhile_refuses_the_whole_commit(store: Store, hand):
    run = await hand.begin({"a": {"type": "step"}, "b": {"type": "step"}})
    call, epoch = await hand.started(run, "a")
    await store.nodes.fail(call, epoch, "Broken", "no", retryable=False)
    entry = await hand.claim()
    loaded, changes = await hand.decided(run)
    changes.nodes["b"] = type(changes.nodes["a"])("ready", 1, 0, "cancelled")
    await hand.admit(Task(run, "b", 1, 0))
    before = await hand.snapshot()
    with pytest.raises(CommitConflict, match="node"):
        await store.engine.commit(loaded, entry.id, changes)
    assert await hand.snapshot() == before


async def test_output_accepted_between_load_and_commit_cannot_be_undone(store: Store, hand):
    """Winning: executor events cannot change an attempt whose output was accepted, not even one that was in flight."""
    run = await hand.begin({"a": {"type": "step"}})
    call, epoch = await hand.started(run, "a")
    await store.nodes.checkpoint(call, epoch, [StepReport("configure"), StepReport("execute")])
    await hand.signal(run, Signal(SignalKind.EXIT, "a", attempt=1, launch=0, type="lost", infra=True))
    entry = await hand.claim()
    loaded, changes = await hand.decided(run)
    await store.nodes.checkpoint(call, epoch, [StepReport("output", metadata=b'{"n":1}')])
    with pytest.raises(CommitConflict):
        await store.engine.commit(loaded, entry.id, changes)
    again = await hand.decided(run)
    await store.engine.commit(again[0], entry.id, again[1])
    assert (await store.runs.node(run, "a"))["status"] == "succeeded"


async def test_signals_that_arrive_while_deciding_are_kept_for_the_next_round(store: Store, hand):
    run = await hand.begun(CHAIN)
    entry = await hand.claim()
    loaded, changes = await hand.decided(run)
    late = Signal(SignalKind.DUE, "a")
    await hand.signal(run, late)
    await store.engine.commit(loaded, entry.id, changes)
    assert len(await hand.inbox(run)) == 1
    assert await store.batcher.call("XLEN", store.keys.active) == 1, "the run is active again"


async def test_a_run_is_in_the_active_stream_once_however_many_signals_arrive(store: Store, hand):
    run = await hand.begun(CHAIN)
    await asyncio.gather(*(hand.signal(run, Signal(SignalKind.DUE, "a")) for _ in range(50)))
    assert await store.batcher.call("XLEN", store.keys.active) == 1
    assert len(await hand.inbox(run)) == 51


async def test_the_end_of_an_attempt_frees_its_slot_in_the_same_commit(store: Store, hand):
    run = await hand.begin(CHAIN)
    await hand.finish(run, "a")
    assert list(await store.workers.holders()) == [Task(run, "a", 1, 0)]
    await hand.decide()
    assert await store.workers.holders() == {}
    assert (await store.runs.node(run, "b"))["status"] == "ready"


@pytest.mark.parametrize("wait", ["0s", "1ms"])
async def test_a_wait_node_goes_on_after_it_was_committed(store: Store, hand, wait: str):
    run = await hand.begin({"a": {"wait": {"duration": wait}}, "b": {"type": "step", "needs": ["a"]}})
    if wait != "0s":
        await hand.signal(run, Signal(SignalKind.DUE, "a"))
        await hand.decide()
    assert (await store.runs.node(run, "b"))["status"] == "ready"


async def test_a_map_goes_on_after_it_was_committed(store: Store, hand):
    run = await hand.begin({"a": {"type": "step", "map": {"over": [1, 2, 3], "max_parallel": 1}}})
    for index in range(3):
        await hand.finish(run, f"a:{index}", b"%d" % index)
        await hand.decide()
    record = await store.runs.node(run, "a")
    assert record["metadata"] == {"count": 3, "succeeded": 3, "failed": 0, "items": [0, 1, 2]}
    assert (await store.runs.get(run))["status"] == "succeeded"


async def test_what_cannot_be_decided_is_kept_as_a_dead_letter(store: Store, hand):
    from app.core.decide import fail_run

    run = await hand.begun(CHAIN)
    entry = await hand.claim()
    loaded = await hand.load(run)
    changes = fail_run(loaded.view, loaded.now, "The engine could not go on.")
    changes.consumed = len(loaded.raw)
    await store.engine.commit(loaded, entry.id, changes, [("a bug", b"[]")])
    ((_, fields),) = await store.batcher.call("XRANGE", store.keys.dead, "-", "+")
    assert fields[::2] == [b"kind", b"id", b"reason", b"d"]
    assert (await store.runs.get(run))["error"]["type"] == "engine_error"


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b'{"k":"later"}',
        b'{"k":"done","n":"nowhere","a":1}',
        b'{"k":"due","n":"a:x"}',
        b'{"k":"exit","n":5}',
        b"[]",
    ],
)
async def test_a_poison_signal_is_told_as_a_fault_and_does_not_break_loading(store: Store, hand, raw: bytes):
    run = await hand.begun(CHAIN)
    await store.batcher.call("RPUSH", store.keys.inbox(run), raw)
    loaded = await hand.load(run)
    assert loaded.fault
    assert len(loaded.raw) == 2


async def test_there_is_nothing_to_load_of_a_run_that_does_not_exist(store: Store):
    assert await store.engine.load("r0") is None
    assert await store.engine.signal("r0", Signal(SignalKind.DUE, "a")) is False


async def test_every_transition_is_an_event_of_the_run_in_order(store: Store, hand):
    run = await hand.begin({"a": {"type": "step"}})
    await hand.finish(run, "a")
    await hand.decide()
    events = [event for _, event in await store.events.read(run, "0")]
    assert [(e["type"], e.get("to") or e["step"]) for e in events] == [
        ("run", "queued"), ("run", "running"), ("node", "ready"), ("node", "starting"), ("node", "running"),
        ("step", "configure"), ("step", "execute"), ("step", "output"), ("step", "finalize"),
        ("node", "succeeded"), ("run", "succeeded"),
    ]  # fmt: skip
    assert all(orjson.dumps(event) for event in events)


async def test_a_watcher_resumes_between_two_events_that_were_written_together(store: Store, hand):
    """An entry of the stream holds all events of one commit; every event has an id of its own (M18)."""
    run = await hand.begin({"a": {"type": "step"}})
    await hand.finish(run, "a")
    await hand.decide()
    whole = await store.events.read(run, "0")
    assert len({identifier for identifier, _ in whole}) == len(whole)
    for position, (identifier, _) in enumerate(whole):
        assert await store.events.read(run, identifier) == whole[position + 1 :]


async def test_a_guess_that_needs_more_than_one_script_may_read_is_not_made(store: Store, hand, monkeypatch):
    monkeypatch.setattr("app.store.engine.MAX_READ", 3)
    children = {f"c{i}": {"type": "step", "needs": ["a"]} for i in range(5)}
    readers = {
        f"r{i}": {
            "type": "step",
            "needs": ["a", f"c{i}"],
            "config": {"from": f"${{{{ nodes.c{i}.status }}}}"},
        }
        for i in range(5)
    }
    run = await hand.begin({"a": {"type": "step"}, **children, **readers})
    call, epoch = await hand.started(run, "a")
    await store.nodes.checkpoint(call, epoch, [StepReport(step) for step in STEPS])
    plain = await hand.load(run)
    guess = Guess(plain.view.graph, (Signal(SignalKind.DONE, "a"),))
    guessed = await store.engine.load(run, guess)
    assert guessed is not None
    assert len(plain.view.nodes) > 3
    assert guessed.view.nodes == plain.view.nodes
