"""What a new run keeps of an ended one is copied before it is there: in any number of tries, and never left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from app.core.retrying import Ask
from app.core.states import NodeStatus
from app.core.tasks import Task
from app.errors import NotFound
from app.settings import Settings
from app.store import takeover as takeover_module
from app.store.ids import receipt_of
from app.store.nodes import NodeCall, StepReport
from app.store.store import Store
from app.store.triggers import Placed, QueuedTrigger
from workers.retention import Retention

CHAIN = {"a": {"type": "step"}, "b": {"type": "step", "needs": ["a"]}, "c": {"type": "step", "needs": ["b"]}}
MAP = {"m": {"type": "step", "map": {"over": ["x", "y", "z"]}}}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Everything is due at once: packed where it is small."""
    return settings.model_copy(update={"pack_after": 0.0, "data_uri": f"file:{tmp_path}/data"})


async def fail(store: Store, hand, run: str, ref: str) -> None:
    call, epoch = await hand.started(run, ref)
    await store.nodes.fail(call, epoch, "Broken", "it broke", retryable=False)
    await hand.decide()


async def half_done(store: Store, hand) -> str:
    """An ended run whose first node succeeded and whose second failed."""
    run = await hand.begin(CHAIN)
    await hand.finish(run, "a", b'{"n":1}')
    await hand.decide()
    await fail(store, hand, run, "b")
    return run


async def retried(hand, run: str, **more: Any) -> QueuedTrigger:
    """The trigger of a retry, as a worker reads it."""
    ask = Ask(run, "retry", "failed")
    await hand.accept(origin=ask.encode(), **more)
    return await hand.queued()


async def take(store: Store, trigger: QueuedTrigger) -> int:
    return await store.takeover.take(trigger, await store.graphs.get(trigger.workflow, trigger.version))


async def place(store: Store, trigger: QueuedTrigger, kept: int) -> Placed:
    nodes = len(await store.graphs.get(trigger.workflow, trigger.version))
    return await store.triggers.place_run(trigger, nodes, None, kept)


async def test_the_copy_again_changes_nothing(store: Store, hand):
    trigger = await retried(hand, await half_done(store, hand))
    assert await take(store, trigger) == 1
    once = await hand.snapshot()
    assert await take(store, trigger) == 1
    assert await hand.snapshot() == once


async def test_the_pages_of_a_preview_read_the_run_once(store: Store, hand):
    run = await half_done(store, hand)
    graph, ask = await store.graphs.get("w", 1), Ask(run, "retry", "failed")
    source = await store.takeover.source(run)
    plan, _ = await store.takeover.preview(source, graph, ask)
    await store.batcher.call("DEL", store.keys.node(run, "a"))
    assert (await store.takeover.preview(source, graph, ask))[0] is plan
    assert (await store.takeover.plan(source, graph, ask))[0].kept == 0


async def test_it_comes_in_bounded_parts(store: Store, hand, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(takeover_module, "PART", 2)
    run = await hand.begin({f"n{i}": {"wait": {"duration": 0}} for i in range(5)} | {"bad": {"type": "step"}})
    await fail(store, hand, run, "bad")
    trigger = await retried(hand, run)
    kept = await take(store, trigger)
    assert (kept, await place(store, trigger, kept)) == (5, Placed.STARTED)
    await hand.decide()
    await hand.finish(trigger.run, "bad")
    await hand.decide()
    assert (await store.runs.get(trigger.run))["status"] == "succeeded"


async def test_a_late_copier_changes_nothing_of_a_run_that_is_there(store: Store, hand):
    trigger = await retried(hand, await half_done(store, hand))
    await place(store, trigger, await take(store, trigger))
    await hand.decide()
    await store.batcher.call("DEL", store.keys.node(trigger.run, "a"))
    await take(store, trigger)
    assert await hand.node(trigger.run, "a") == {}


async def test_what_fences_a_live_attempt_is_not_copied(store: Store, hand):
    run = await half_done(store, hand)
    trigger = await retried(hand, run)
    await take(store, trigger)
    fields = await hand.node(trigger.run, "a")
    assert fields[b"s"] == NodeStatus.SUCCEEDED.encode()
    assert fields[b"kr"] == run.encode()
    assert not {b"i", b"h", b"ko", b"t"} & fields.keys()


async def test_a_packed_run_is_read_alike(store: Store, hand, settings: Settings):
    run = await half_done(store, hand)
    assert (await Retention(store, settings).sweep())["packed"] == 1
    trigger = await retried(hand, run)
    assert await take(store, trigger) == 1
    assert (await hand.node(trigger.run, "a"))[b"m"] == b'{"n":1}'


async def test_the_ended_run_is_pinned_while_the_new_one_is_there(store: Store, hand):
    run = await half_done(store, hand)
    trigger = await retried(hand, run)
    await take(store, trigger)
    assert await store.retention.pins(run) == (1, True)


async def test_a_run_that_was_removed_meanwhile_cannot_be_taken_over(store: Store, hand):
    run = await half_done(store, hand)
    trigger = await retried(hand, run)
    await store.batcher.call("DEL", *store.keys.of_run(run))
    with pytest.raises(NotFound):
        await take(store, trigger)


@pytest.mark.parametrize("state", ["dead", "rejected"])
async def test_what_was_copied_for_a_run_that_never_comes_to_be_is_removed(
    store: Store, hand, settings: Settings, state: str
):
    run = await hand.begin(MAP)
    for item in range(2):
        await hand.finish(run, f"m:{item}")
        await hand.decide()
    await fail(store, hand, run, "m:2")
    trigger = await retried(hand, run)
    await take(store, trigger)
    new = f"{store.keys.tag}:r:{trigger.run}:*"
    assert len(await store.batcher.call("KEYS", new)) == 3
    keeper = Retention(store, settings)
    await store.retention.postpone(trigger.run, 0)
    await keeper.sweep()
    assert len(await store.batcher.call("KEYS", new)) == 3, "its trigger still waits"
    await store.batcher.call("HSET", store.keys.receipt(receipt_of(trigger.run)), "s", state)
    await store.retention.postpone(trigger.run, 0)
    await keeper.sweep()
    assert await store.batcher.call("KEYS", new) == []


async def test_a_map_cancelled_before_its_kept_items_were_counted_leaves_nothing(
    store: Store, hand, settings: Settings
):
    run = await hand.begin(MAP)
    for item in range(2):
        await hand.finish(run, f"m:{item}")
        await hand.decide()
    await fail(store, hand, run, "m:2")
    trigger = await retried(hand, run)
    await place(store, trigger, await take(store, trigger))
    await store.control.cancel(trigger.run)
    await hand.decide()
    assert (await store.runs.get(trigger.run))["status"] == "cancelled"
    await store.retention.postpone(trigger.run, 0)
    await Retention(store, settings.model_copy(update={"retention": 0.0})).sweep()
    assert await store.batcher.call("KEYS", f"{store.keys.tag}:r:{trigger.run}:*") == []


async def partly(store: Store, hand, nodes: dict[str, Any], *refs: str) -> str:
    """A run that succeeded; of these node runs two records failed."""
    run = await hand.begin(nodes)
    for ref in refs:
        call, epoch = await hand.started(run, ref)
        failed = [{"index": index, "type": "E", "message": ""} for index in (12, 3)]
        await store.nodes.records(call, epoch, failed)
        steps = [StepReport("configure"), StepReport("execute"), StepReport("output"), StepReport("finalize")]
        await store.nodes.checkpoint(call, epoch, steps)
        await hand.decide()
    return run


TOLERANT = {"a": {"type": "step", "tolerate": 0.5}}


async def test_a_node_run_with_failed_records_begins_anew_and_names_its_run(store: Store, hand):
    run = await partly(store, hand, TOLERANT, "a")
    trigger = await retried(hand, run)
    kept = await take(store, trigger)
    assert (kept, await hand.node(trigger.run, "a")) == (0, {b"rd": run.encode()})
    assert await store.retention.pins(run) == (1, True)
    assert await place(store, trigger, kept) == Placed.STARTED
    await hand.decide()
    assert await hand.admit(Task(trigger.run, "a", 1, 0)) == [1]
    started = await store.nodes.start(NodeCall(trigger.run, "a", 1), "pod-1", 60_000, [])
    assert started.redo == run
    page, after = await store.ledger.page(run, "a", 1, 0)
    assert (orjson.loads(orjson.dumps(page))[0]["index"], after) == (3, "12")


async def test_of_a_map_the_items_with_failed_records_begin_anew_and_the_others_are_kept(store: Store, hand):
    nodes = {"m": {**MAP["m"], "tolerate": 0.5}}
    run = await hand.begin(nodes)
    await hand.finish(run, "m:0")
    await hand.decide()
    for ref in ("m:1", "m:2"):
        call, epoch = await hand.started(run, ref)
        await store.nodes.records(call, epoch, [{"index": 0, "type": "E", "message": ""}])
        ends = [StepReport("configure"), StepReport("execute"), StepReport("output"), StepReport("finalize")]
        await store.nodes.checkpoint(call, epoch, ends)
        await hand.decide()
    trigger = await retried(hand, run)
    await take(store, trigger)
    assert (await hand.node(trigger.run, "m:0"))[b"kr"] == run.encode()
    assert await hand.node(trigger.run, "m:1") == {b"rd": run.encode()}
    assert await hand.node(trigger.run, "m") == {b"kn": b"3"}


async def test_a_redo_cancelled_before_it_began_leaves_nothing(store: Store, hand, settings: Settings):
    run = await partly(store, hand, TOLERANT, "a")
    trigger = await retried(hand, run)
    await place(store, trigger, await take(store, trigger))
    await store.control.cancel(trigger.run)
    await hand.decide()
    assert (await store.runs.get(trigger.run))["status"] == "cancelled"
    await store.retention.postpone(trigger.run, 0)
    await Retention(store, settings.model_copy(update={"retention": 0.0})).sweep()
    assert await store.batcher.call("KEYS", f"{store.keys.tag}:r:{trigger.run}:*") == []
