"""Checkpoints go together, in order, and never late."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from headrace.control import Control
from headrace.errors import Cancelled, StaleEpoch
from headrace.protocol import Checkpoint
from headrace.reporter import HOLD, Reporter
from headrace.testing import MemoryEngine


def position(seq: int) -> dict[str, Any]:
    return {"step": "execute", "seq": seq, "data": {"consumed": seq}}


@pytest.fixture
def engine() -> MemoryEngine:
    engine = MemoryEngine()
    engine.start("me")
    return engine


def sent(engine: MemoryEngine) -> list[list[str]]:
    return [
        [entry["step"] + str(entry.get("seq", "")) for entry in body["steps"]]
        if name == "checkpoints"
        else [name]
        for name, body in engine.calls[1:]
    ]


def test_a_checkpoint_is_held_for_20_ms() -> None:
    assert HOLD == 0.020


def test_steps_that_end_close_together_go_in_one_call(engine: MemoryEngine) -> None:
    reporter = Reporter(engine, 1, 20, Control(), hold=60)
    reporter.start()
    reporter.step({"step": "configure"})
    reporter.position(position(1), [])
    reporter.step({"step": "execute"})
    reporter.flush()
    reporter.close()
    assert sent(engine) == [["configure", "execute1", "execute"]]


def test_a_newer_position_replaces_one_that_was_not_sent_yet(engine: MemoryEngine) -> None:
    reporter = Reporter(engine, 1, 20, Control(), hold=60)
    reporter.step({"step": "configure"})
    reporter.position(position(1), [])
    reporter.position(position(2), [])
    reporter.flush()
    assert sent(engine) == [["configure", "execute2"]]


def test_failed_records_are_sent_before_the_position_that_covers_them(engine: MemoryEngine) -> None:
    reporter = Reporter(engine, 1, 20, Control(), hold=60)
    reporter.step({"step": "configure"})
    reporter.position(position(1), [{"index": 0, "type": "E", "message": "m"}])
    reporter.flush()
    assert sent(engine) == [["configure"], ["records"], ["execute1"]]


def test_what_waited_long_enough_is_sent_without_a_flush(engine: MemoryEngine, eventually: Any) -> None:
    reporter = Reporter(engine, 1, 20, Control())
    reporter.start()
    reporter.step({"step": "configure"})
    eventually(lambda: engine.checkpoint.step == "configure", "the checkpoint")
    reporter.close()


def test_a_stale_epoch_found_in_the_background_stops_the_main_thread(
    engine: MemoryEngine, eventually: Any
) -> None:
    control = Control()
    reporter = Reporter(engine, 1, 20, control)
    reporter.start()
    engine.start("another")
    reporter.step({"step": "configure"})
    eventually(lambda: control.attention, "the news")
    with pytest.raises(StaleEpoch):
        control.check()
    with pytest.raises(StaleEpoch):
        reporter.flush()
    reporter.close()
    assert engine.checkpoint == Checkpoint()


def test_any_answer_can_bring_the_cancel(engine: MemoryEngine) -> None:
    control = Control()
    reporter = Reporter(engine, 1, 20, control, hold=60)
    engine.cancel = True
    reporter.step({"step": "configure"})
    reporter.flush()
    with pytest.raises(Cancelled):
        control.check()


def test_calls_keep_their_order_while_one_is_slow(engine: MemoryEngine, eventually: Any) -> None:
    entered, go_on = threading.Event(), threading.Event()
    accept = engine.checkpoints

    def slow(epoch: int, steps: list[dict[str, Any]]) -> bool:
        entered.set()
        go_on.wait(30)
        return accept(epoch, steps)

    engine.checkpoints = slow  # pyright: ignore[reportAttributeAccessIssue]
    reporter = Reporter(engine, 1, 20, Control())
    reporter.start()
    reporter.step({"step": "configure"})
    entered.wait(30)
    reporter.position(position(1), [])
    reporter.step({"step": "execute"})
    go_on.set()
    reporter.flush()
    reporter.close()
    assert sum(sent(engine), start=list[str]()) == ["configure", "execute1", "execute"]


def test_a_node_that_fails_faster_than_it_can_report_waits(engine: MemoryEngine) -> None:
    reporter = Reporter(engine, 1, 20, Control(), hold=60)
    reporter.step({"step": "configure"})
    for seq in range(1, 40):
        reporter.position(position(seq), [{"index": seq, "type": "E", "message": "m"}])
    assert len(engine.ledger) >= 16
