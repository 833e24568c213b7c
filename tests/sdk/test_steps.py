"""Four steps, and how few calls they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headrace.testing import MemoryEngine


def test_a_trivial_node_needs_two_calls_on_one_connection(server: Any, launch: Any) -> None:
    server.engine = MemoryEngine(config={"name": "kettle"})
    assert launch("Trivial", SAMPLE_HOLD="30").wait() == 0
    assert server.names() == ["start", "checkpoints"]
    assert server.steps() == [["configure", "execute", "output", "finalize"]]
    assert server.connections == 1
    assert server.engine.checkpoint.metadata == {"hello": "kettle", "count": 0}


def test_a_small_stream_still_needs_two_calls_and_carries_its_position(
    server: Any, launch: Any, feed: Any, tmp_path: Path
) -> None:
    server.engine = MemoryEngine(config={"uri": feed(3)})
    assert launch("Copy", SAMPLE_HOLD="30").wait() == 0
    assert server.steps() == [["configure", "execute+", "execute", "output", "finalize"]]
    assert server.engine.positions[-1]["consumed"] == 3
    assert server.engine.checkpoint.metadata["count"] == 3


def test_an_ended_step_is_not_held_while_the_next_one_runs(
    server: Any, launch: Any, feed: Any, tmp_path: Path, eventually: Any
) -> None:
    server.engine = MemoryEngine(config={"uri": feed(3), "at": 1, "points": str(tmp_path)})
    hold = tmp_path / "record.hold"
    hold.touch()
    node = launch("Held")
    eventually(lambda: (tmp_path / "record").exists(), "execute at record 1")
    eventually(lambda: server.steps() == [["configure"]], "the end of configure while execute runs")
    hold.unlink()
    assert node.wait() == 0
    assert server.steps()[1][0] == "execute+"
    assert server.engine.checkpoint.step == "finalize"


def test_finalize_runs_only_after_output_was_accepted(
    server: Any, launch: Any, feed: Any, tmp_path: Path, fault: Any
) -> None:
    server.engine = MemoryEngine(config={"uri": feed(3), "points": str(tmp_path)})
    server.faults = [fault("checkpoints", 422)]
    assert launch("Tidy", SAMPLE_HOLD="30").wait() == 1
    assert not (tmp_path / "finalized").exists()
    assert launch("Tidy", SAMPLE_HOLD="30").wait() == 0
    assert (tmp_path / "finalized").read_text() == "x"
    assert server.steps()[-2:] == [["configure", "execute+", "execute", "output"], ["finalize"]]


def test_a_node_whose_output_is_accepted_only_runs_finalize_again(
    server: Any, launch: Any, feed: Any, tmp_path: Path
) -> None:
    engine = MemoryEngine(config={"uri": feed(3), "points": str(tmp_path)})
    engine.checkpoint = engine.checkpoint._replace(step="output", metadata={"count": 3})
    server.engine = engine
    assert launch("Tidy").wait() == 0
    assert server.steps() == [["finalize"]]
    assert (tmp_path / "finalized").read_text() == "x"


def test_a_failed_finalize_is_reported_and_does_not_undo_the_output(
    server: Any, launch: Any, feed: Any, tmp_path: Path
) -> None:
    server.engine = MemoryEngine(config={"uri": feed(3), "points": str(tmp_path)})
    assert launch("BrokenTidy").wait() == 0
    assert server.engine.checkpoint.step == "output"
    assert server.engine.failures[0]["type"] == "OSError"


def test_heartbeats_go_on_while_a_record_takes_long(
    server: Any, launch: Any, feed: Any, tmp_path: Path, eventually: Any
) -> None:
    server.engine = MemoryEngine(config={"uri": feed(3), "at": 0, "points": str(tmp_path)}, heartbeat=0.05)
    hold = tmp_path / "record.hold"
    hold.touch()
    node = launch("Held")
    eventually(lambda: server.names().count("heartbeat") >= 3, "three heartbeats")
    hold.unlink()
    assert node.wait() == 0


def test_a_cancelled_run_ends_the_node_at_the_next_record(
    server: Any, launch: Any, feed: Any, tmp_path: Path, eventually: Any
) -> None:
    server.engine = MemoryEngine(
        config={"uri": feed(500), "at": 250, "points": str(tmp_path)}, heartbeat=0.05
    )
    hold = tmp_path / "record.hold"
    hold.touch()
    node = launch("Held")
    eventually(lambda: (tmp_path / "record").exists(), "execute at record 250")
    server.engine.cancel = True
    before = server.names().count("heartbeat")
    eventually(lambda: server.names().count("heartbeat") > before, "a heartbeat that brings the news")
    hold.unlink()
    assert node.wait() == 0
    assert server.engine.checkpoint.step == "configure"
    assert server.engine.positions[-1]["consumed"] == 251
    assert not server.engine.failures
