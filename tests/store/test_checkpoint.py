"""Checkpoints: in order, all or none, idempotent, and fenced (M4, B2; fault rows 17, 18, 20)."""

from __future__ import annotations

from typing import NamedTuple

import orjson
import pytest

from app.errors import NotFound, StaleEpoch, StepConflict
from app.store.nodes import NodeCall, StepReport
from app.store.store import Store

CONFIGURE, EXECUTE, FINALIZE = StepReport("configure"), StepReport("execute"), StepReport("finalize")
OUTPUT = StepReport("output", metadata=b'{"count":3}')


def position(seq: int, data: bytes = b"1") -> StepReport:
    return StepReport("execute", seq=seq, data=data)


class Speaker(NamedTuple):
    """An instance that holds its attempt."""

    store: Store
    call: NodeCall
    epoch: int

    async def say(self, *steps: StepReport, epoch: int | None = None) -> bool:
        return await self.store.nodes.checkpoint(self.call, epoch or self.epoch, steps)

    async def record(self):
        return await self.store.runs.node(self.call.run, self.call.ref)


@pytest.fixture
async def node(store: Store, hand) -> Speaker:
    run = await hand.begin({"a": {"type": "step"}})
    return Speaker(store, *await hand.started(run, "a"))


async def test_steps_end_in_their_order(node: Speaker):
    for step in (CONFIGURE, EXECUTE, OUTPUT, FINALIZE):
        await node.say(step)
        assert (await node.record())["step"] == step.step


@pytest.mark.parametrize(("before", "step", "expected"), [
    ([], EXECUTE, "configure"), ([], OUTPUT, "configure"), ([CONFIGURE], OUTPUT, "execute"),
    ([CONFIGURE, EXECUTE], FINALIZE, "output"), ([], position(1), "configure"), ([CONFIGURE, EXECUTE], position(1), "output"),
])  # fmt: skip
async def test_a_step_out_of_order_is_refused_with_the_one_that_is_expected(
    node: Speaker, before, step, expected: str
):
    await node.say(*before)
    with pytest.raises(StepConflict) as conflict:
        await node.say(step)
    assert conflict.value.extra["expected"] == expected


async def test_of_a_call_with_one_wrong_entry_nothing_is_kept(node: Speaker, hand):
    before = await hand.snapshot()
    with pytest.raises(StepConflict):
        await node.say(CONFIGURE, position(1), OUTPUT)
    assert await hand.snapshot() == before


async def test_all_steps_in_one_call_are_one_checkpoint(node: Speaker, hand):
    await node.say(CONFIGURE, position(1), position(2, b'"x"'), EXECUTE, OUTPUT, FINALIZE)
    record = await node.record()
    assert (record["step"], record["seq"], record["metadata"]) == ("finalize", 2, {"count": 3})
    assert len(await hand.inbox(node.call.run)) == 1


async def test_a_step_said_again_is_accepted_and_changes_nothing(node: Speaker, hand):
    steps = (CONFIGURE, EXECUTE, OUTPUT, FINALIZE)
    await node.say(*steps)
    before = await stable(node, hand)
    for step in steps:
        await node.say(step)
    await node.say(*steps)
    assert await stable(node, hand) == before


async def stable(node: Speaker, hand):
    """All that is stored but for the time of the last sign of life."""
    record = await hand.node(node.call.run, "a")
    events = await node.store.events.read(node.call.run, "0")
    return {k: v for k, v in record.items() if k not in (b"h", b"w")}, events, await hand.inbox(node.call.run)


@pytest.mark.parametrize(
    "other", [StepReport("configure", data=b"2"), StepReport("output", metadata=b'{"count":4}')]
)
async def test_a_step_with_other_content_is_a_conflict(node: Speaker, other: StepReport):
    await node.say(CONFIGURE, EXECUTE, OUTPUT)
    with pytest.raises(StepConflict) as conflict:
        await node.say(other)
    assert conflict.value.extra["differs"] is True


async def test_a_later_epoch_may_configure_anew_but_never_change_the_output(node: Speaker):
    await node.say(CONFIGURE, EXECUTE, OUTPUT)
    await node.store.nodes.start(node.call, "pod-2", 60_000, [])
    await node.say(StepReport("configure", data=b'"other"'), OUTPUT, epoch=2)
    with pytest.raises(StepConflict):
        await node.say(StepReport("output", metadata=b'{"count":9}'), epoch=2)


async def test_a_rising_position_replaces_the_one_before(node: Speaker, hand):
    await node.say(CONFIGURE, position(1, b'{"part":1}'))
    await node.say(position(5, b'{"part":5}'))
    assert (await hand.node(node.call.run, "a"))[b"d"] == b'{"part":5}'


async def test_an_equal_position_is_accepted_and_a_lower_one_refused(node: Speaker, hand):
    await node.say(CONFIGURE, position(5, b'"first"'))
    await node.say(position(5, b'"again"'))
    assert (await hand.node(node.call.run, "a"))[b"d"] == b'"first"'
    with pytest.raises(StepConflict) as conflict:
        await node.say(position(4))
    assert conflict.value.extra["seq"] == 5


async def test_progress_is_kept_for_display(node: Speaker):
    await node.say(CONFIGURE, StepReport("execute", seq=1, data=b"1", done=40, total=100))
    assert (await node.record())["progress"] == {"done": 40, "total": 100}


async def test_the_final_checkpoint_ends_the_node_run(node: Speaker, hand):
    await node.say(CONFIGURE, EXECUTE, OUTPUT)
    await node.say(FINALIZE)
    await hand.decide()
    assert (await node.record())["status"] == "succeeded"


async def test_a_lost_answer_to_the_final_checkpoint_is_given_again_after_the_node_run_has_ended(
    node: Speaker, hand
):
    steps = (CONFIGURE, EXECUTE, OUTPUT, FINALIZE)
    await node.say(*steps)
    await hand.decide()
    before = await hand.snapshot()
    assert await node.say(*steps) is False
    assert await hand.snapshot() == before


async def test_a_late_finalize_is_welcome_after_its_grace_is_over(node: Speaker, hand):
    from app.core.signals import Signal, SignalKind

    await node.say(CONFIGURE, EXECUTE, OUTPUT)
    await hand.signal(node.call.run, Signal(SignalKind.EXIT, "a", attempt=1, launch=0, code=1))
    await hand.decide()
    assert (await node.record())["status"] == "succeeded"
    assert await node.say(FINALIZE) is False


async def test_a_stale_epoch_is_refused(node: Speaker, hand):
    before = await hand.snapshot()
    for epoch in (7, 2):
        with pytest.raises(StaleEpoch):
            await node.say(CONFIGURE, epoch=epoch)
    assert await hand.snapshot() == before


async def test_a_checkpoint_of_a_failed_attempt_is_refused(node: Speaker, hand):
    await node.store.nodes.fail(node.call, 1, "Broken", "no", retryable=False)
    await hand.decide()
    with pytest.raises(StaleEpoch):
        await node.say(CONFIGURE)


async def test_a_node_run_that_does_not_exist_has_no_checkpoints(node: Speaker):
    with pytest.raises(NotFound):
        await node.store.nodes.checkpoint(NodeCall(node.call.run, "b", 1), 1, [CONFIGURE])


class TestStopping:
    @pytest.fixture
    async def stopped(self, node: Speaker) -> Speaker:
        await node.store.batcher.call("HSET", node.store.keys.node(node.call.run, "a"), "t", "run_timeout")
        return node

    async def test_a_node_that_must_stop_hears_it_with_every_answer(self, stopped: Speaker):
        assert await stopped.say(CONFIGURE) is True
        assert await stopped.store.nodes.heartbeat(stopped.call, 1) is True

    async def test_one_that_wins_need_not_stop_any_more(self, stopped: Speaker):
        await stopped.say(CONFIGURE, EXECUTE)
        assert await stopped.say(OUTPUT) is False


async def test_a_heartbeat_is_only_a_field(node: Speaker, hand):
    before = await hand.node(node.call.run, "a")
    assert await node.store.nodes.heartbeat(node.call, 1) is False
    after = await hand.node(node.call.run, "a")
    assert {k for k in after if after[k] != before.get(k)} <= {b"h"}


async def test_failed_records_are_kept_once_by_their_position(node: Speaker):
    def failed(index: int):
        return {"index": index, "type": "BadPrice", "message": "negative"}

    assert await node.store.nodes.records(node.call, 1, [failed(3), failed(9)]) == 2
    assert await node.store.nodes.records(node.call, 1, [failed(9), failed(12)]) == 3
    page, cursor = await node.store.runs.records(node.call.run, "a", 100, None)
    assert sorted(record["index"] for record in page) == [3, 9, 12]
    assert cursor is None
    assert (await node.record())["failed_records"] == 3


async def test_a_page_of_failed_records_holds_no_more_than_its_limit(node: Speaker):
    failed = [{"index": index, "type": "BadPrice", "message": "negative"} for index in range(5)]
    await node.store.nodes.records(node.call, 1, failed)
    pages, cursor = list[list[int]](), None
    while not pages or cursor is not None:
        page, cursor = await node.store.runs.records(node.call.run, "a", 2, cursor)
        pages.append([record["index"] for record in page])
    assert [len(page) for page in pages] == [2, 2, 1]
    assert sorted(index for page in pages for index in page) == [0, 1, 2, 3, 4]


async def test_no_more_failed_records_are_kept_than_there_is_room_for(node: Speaker, monkeypatch):
    from app.store import nodes

    monkeypatch.setattr(nodes, "MAX_RECORDS", 2)
    records = [{"index": i, "type": "T", "message": orjson.dumps(i).decode()} for i in range(5)]
    assert await node.store.nodes.records(node.call, 1, records) == 2
