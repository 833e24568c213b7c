"""A node that was killed goes on from its last position, and nothing shows that it was."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from headrace.testing import MemoryEngine

FEED = 1000


def undisturbed(server: Any, launch: Any, name: str, config: dict[str, Any]) -> tuple[Any, bytes]:
    """Metadata and written stream of a run without a crash."""
    server.engine = MemoryEngine(config=config)
    node = launch(name, HEADRACE_RUN_ID="run-calm")
    assert node.wait() == 0, node.stderr
    return server.engine.checkpoint.metadata, stream_of(Path(config["points"]), "run-calm", server.engine)


def stream_of(root: Path, run: str, engine: MemoryEngine) -> bytes:
    """The bytes that the last position says were written, read from the parts themselves."""
    content = b""
    for directory, closed, _, length in engine.positions[-1]["segments"]:
        folder = root / "data" / run / "sample" / "parts" / directory
        content += b"".join((folder / f"{number:06d}.ndjson").read_bytes() for number in range(closed))
        if length:
            content += (folder / f"{closed:06d}.ndjson").read_bytes()[:length]
    return content


@pytest.mark.parametrize("name", ["Held", "Batches", "Overlapping"])
def test_kill_9_in_the_middle_of_execute_changes_nothing_in_the_result(
    name: str, server: Any, launch: Any, feed: Any, tmp_path: Path, eventually: Any
) -> None:
    config = {"uri": feed(FEED), "at": 555, "points": str(tmp_path)}
    metadata, content = undisturbed(server, launch, name, config)
    (tmp_path / "record").unlink()
    server.engine = MemoryEngine(config=config)
    hold = tmp_path / "record.hold"
    hold.touch()
    node = launch(name)
    eventually(lambda: (tmp_path / "record").exists(), "execute at record 555")
    reached = eventually(lambda: server.engine.positions, "a position")[-1]["consumed"]
    assert reached > 0
    node.kill()
    assert node.wait() == -signal.SIGKILL
    hold.unlink()
    assert launch(name).wait() == 0
    assert server.engine.checkpoint.metadata | {"uri": ""} == metadata | {"uri": ""}
    assert stream_of(tmp_path, "run-1", server.engine) == content
    assert len(server.engine.positions[-1]["segments"]) == 2


def test_the_position_is_durable_before_it_is_reported(
    server: Any, launch: Any, feed: Any, tmp_path: Path, eventually: Any
) -> None:
    server.engine = MemoryEngine(config={"uri": feed(FEED), "at": 555, "points": str(tmp_path)})
    (tmp_path / "record.hold").touch()
    node = launch("Held")
    eventually(lambda: [p for p in server.engine.positions if p["consumed"] >= 500], "the position 500")
    node.kill()
    node.wait()
    assert stream_of(tmp_path, "run-1", server.engine).count(b"\n") == server.engine.positions[-1]["emitted"]


def test_killed_in_output_it_neither_configures_nor_executes_again(
    server: Any, launch: Any, feed: Any, tmp_path: Path, eventually: Any
) -> None:
    config = {"uri": feed(FEED), "output": True, "points": str(tmp_path)}
    server.engine = MemoryEngine(config=config)
    hold = tmp_path / "output.hold"
    hold.touch()
    node = launch("Held")
    eventually(lambda: server.engine.checkpoint.step == "execute", "the end of execute")
    node.kill()
    node.wait()
    hold.unlink()
    (tmp_path / f"feed-{FEED}.ndjson").unlink()
    assert launch("Held").wait() == 0
    assert server.steps()[-1] == ["output", "finalize"]
    assert server.engine.checkpoint.metadata["sum"] == sum(range(FEED))


def test_the_uri_in_the_metadata_names_no_attempt(
    server: Any, launch: Any, feed: Any, tmp_path: Path
) -> None:
    server.engine = MemoryEngine(config={"uri": feed(3)})
    server.engine.attempt = 3
    assert launch("Copy").wait() == 0
    assert server.engine.checkpoint.metadata["uri"] == f"file://{tmp_path}/data/run-1/sample/manifest.json"


def test_sigterm_commits_the_position_and_exits_143(
    server: Any, launch: Any, feed: Any, tmp_path: Path, eventually: Any
) -> None:
    server.engine = MemoryEngine(config={"uri": feed(FEED), "at": 555, "points": str(tmp_path)})
    hold = tmp_path / "record.hold"
    hold.touch()
    node = launch("Held")
    eventually(lambda: (tmp_path / "record").exists(), "execute at record 555")
    node.kill(signal.SIGTERM)
    hold.unlink()
    assert node.wait() == 143
    assert server.engine.positions[-1]["consumed"] == 556
    assert not server.engine.failures
    assert launch("Held").wait() == 0
    assert server.engine.checkpoint.metadata["sum"] == sum(range(FEED))


def test_sigterm_outside_execute_exits_143_at_once(
    server: Any, launch: Any, feed: Any, tmp_path: Path, eventually: Any
) -> None:
    server.engine = MemoryEngine(config={"uri": feed(3), "output": True, "points": str(tmp_path)})
    (tmp_path / "output.hold").touch()
    node = launch("Held")
    eventually(lambda: (tmp_path / "output").exists(), "output")
    node.kill(signal.SIGTERM)
    assert node.wait() == 143
    assert server.engine.checkpoint.step == "execute"


def test_the_older_of_two_processes_exits_3_and_changes_nothing(
    server: Any, launch: Any, feed: Any, tmp_path: Path, eventually: Any
) -> None:
    config = {"uri": feed(FEED), "at": 555, "points": str(tmp_path)}
    metadata, content = undisturbed(server, launch, "Held", config)
    (tmp_path / "record").unlink()
    server.engine = MemoryEngine(config=config)
    hold = tmp_path / "record.hold"
    hold.touch()
    older = launch("Held")
    eventually(lambda: (tmp_path / "record").exists(), "execute at record 555")
    older.kill(signal.SIGSTOP)
    hold.unlink()
    assert launch("Held").wait() == 0
    hold.touch()
    older.kill(signal.SIGCONT)
    hold.unlink()
    assert older.wait() == 3
    assert "newer process" in older.stderr
    assert server.engine.checkpoint.metadata | {"uri": ""} == metadata | {"uri": ""}
    assert stream_of(tmp_path, "run-1", server.engine) == content
