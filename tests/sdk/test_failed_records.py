"""A record that fails goes to the ledger; too many fail the node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace import Context, Node
from headrace.testing import MemoryEngine, Outcome, run_node


class Every(Node):
    """Fails each record in `bad`, unless `mended` exists."""

    type = "every"

    def configure(self, ctx: Context) -> Any:
        return iter(range(ctx.config["count"])) if ctx.config.get("unknown") else range(ctx.config["count"])

    def execute(self, ctx: Context, record: int) -> Any:
        ctx.state["seen"] = ctx.state.get("seen", 0) + 1
        if record in ctx.config["bad"] and not Path(ctx.config.get("mended", "/none")).exists():
            raise KeyError(f"no price for {record}")
        return {"n": record}


def every(tmp_path: Path, **options: Any) -> Outcome:
    config = {"count": 100, "bad": [3, 50]} | options.pop("config", {})
    return run_node(Every, config=config, data_dir=tmp_path, **options)


def test_tolerated_failures_are_in_the_ledger_and_not_in_the_result(tmp_path: Path) -> None:
    outcome = every(tmp_path, tolerate=0.02)
    assert outcome.exit_code == 0
    assert [entry["index"] for entry in outcome.failed] == [3, 50]
    assert outcome.failed[0] == {"index": 3, "at": 3, "type": "KeyError", "message": "'no price for 3'"}
    assert outcome.failed[1]["at"] == 49, "so many records are written before its own would be"
    assert outcome.metadata["count"] == 98
    assert outcome.metadata["failed"] == 2


def test_a_share_is_exact_where_its_float_is_not(tmp_path: Path) -> None:
    assert every(tmp_path, config={"bad": list(range(29))}, tolerate=0.29).exit_code == 0


def test_a_failed_record_is_in_the_ledger_before_the_position_that_passes_it(tmp_path: Path) -> None:
    outcome = every(tmp_path, tolerate=0.02, checkpoint_records=10)
    seen: set[int] = set()
    for name, body in outcome.engine.calls:
        if name == "records":
            seen |= {entry["index"] for entry in body["failed"]}
        for entry in body.get("steps", []):
            if "seq" in entry:
                assert (
                    entry["data"]["failed"]
                    == len([n for n in (3, 50) if n < entry["data"]["consumed"]])
                    <= len(seen)
                )


@pytest.mark.parametrize("unknown", [False, True])
def test_without_tolerance_the_first_failure_ends_the_attempt(tmp_path: Path, unknown: bool) -> None:
    outcome = every(tmp_path, config={"unknown": unknown})
    assert outcome.exit_code == 1
    assert outcome.error is not None
    assert (outcome.error["type"], outcome.error["retryable"]) == ("too_many_failed_records", True)
    assert [entry["index"] for entry in outcome.failed] == [3]


def test_it_gives_up_as_soon_as_it_is_certain(tmp_path: Path) -> None:
    outcome = every(tmp_path, config={"bad": list(range(100))}, tolerate=0.1)
    assert len(outcome.failed) == 11


def test_of_an_unknown_total_the_share_is_known_at_the_end(tmp_path: Path) -> None:
    outcome = every(tmp_path, config={"unknown": True, "bad": [1, 2, 3]}, tolerate=0.02)
    assert outcome.error is not None
    assert outcome.error["message"] == "3 of 100 records failed (2.00% tolerated)"


def test_another_attempt_begins_before_the_first_failure_and_can_succeed(tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    engine = MemoryEngine(config={"count": 100, "bad": [50], "mended": str(mended)})
    first = run_node(Every, engine=engine, data_dir=tmp_path, checkpoint_records=20)
    assert first.exit_code == 1
    assert first.engine.checkpoint.data["consumed"] == 40
    mended.touch()
    engine.attempt = 2
    second = run_node(Every, engine=engine, data_dir=tmp_path, checkpoint_records=20)
    assert second.exit_code == 0
    assert [record["n"] for record in second.records] == list(range(100))
    assert second.engine.checkpoint.data["state"] == {"seen": 100}


def test_a_failure_tolerated_before_a_crash_still_counts_after_it(tmp_path: Path) -> None:
    outcome = every(tmp_path, tolerate=0.02, kill_at=[60])
    assert outcome.crashes == 1
    assert outcome.metadata["failed"] == 2


def test_a_record_that_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    class Unwritable(Every):
        def execute(self, ctx: Context, record: int) -> Any:
            return {"n": object()} if record == 3 else [{"n": record}, {"n": -record}]

    outcome = run_node(Unwritable, config={"count": 5}, data_dir=tmp_path, tolerate=0.5)
    assert outcome.failed[0]["type"] == "MalformedRecord"
    assert [record["n"] for record in outcome.records] == [0, 0, 1, -1, 2, -2, 4, -4]


def test_only_the_record_at_fault_fails_in_a_batch(tmp_path: Path) -> None:
    class Batch(Every):
        batch_size = 10

        def execute_batch(self, ctx: Context, records: list[int]) -> list[Any]:
            return [self.execute(ctx, record) for record in records]

    outcome = run_node(Batch, config={"count": 100, "bad": [3]}, data_dir=tmp_path, tolerate=0.01)
    assert [entry["index"] for entry in outcome.failed] == [3]
    assert [record["n"] for record in outcome.records] == [n for n in range(100) if n != 3]


def test_failures_of_an_async_node_keep_their_places(tmp_path: Path) -> None:
    class Overlapping(Every):
        async def execute(self, ctx: Context, record: int) -> Any:
            if record in ctx.config["bad"]:
                raise ValueError("bad")
            return {"n": record}

    outcome = run_node(Overlapping, config={"count": 100, "bad": [3, 50]}, data_dir=tmp_path, tolerate=0.02)
    assert [entry["index"] for entry in outcome.failed] == [3, 50]
    assert outcome.metadata["count"] == 98


def test_a_bad_line_of_the_feed_is_a_failed_record(tmp_path: Path) -> None:
    class Read(Node):
        type = "read"

        def configure(self, ctx: Context) -> Any:
            return ctx.open("file:feed.ndjson")

    (tmp_path / "feed.ndjson").write_text('{"id":"a"}\n{"id":\n{"id":"c"}\n')
    outcome = run_node(Read, data_dir=tmp_path, tolerate=0.5)
    assert [(entry["index"], entry["type"]) for entry in outcome.failed] == [(1, "MalformedRecord")]
    assert [record["id"] for record in outcome.records] == ["a", "c"]


def test_the_ledger_names_the_record_and_shows_no_control_characters(tmp_path: Path) -> None:
    class Rude(Node):
        type = "rude"

        def configure(self, ctx: Context) -> Any:
            return [{"sku": "kettle\x00\x1b[31m"}]

        def execute(self, ctx: Context, record: Any) -> Any:
            raise ValueError("line\r\x1b]0;title\x07")

    entry = run_node(Rude, data_dir=tmp_path, tolerate=1).failed[0]
    assert entry["key"] == "kettle\\x00\\x1b[31m"
    assert entry["message"] == "line\\x0d\\x1b]0;title\\x07"


def test_ten_thousand_failures_are_reported_a_thousand_at_a_time(tmp_path: Path) -> None:
    outcome = every(tmp_path, config={"count": 10_000, "bad": list(range(10_000))}, tolerate=1)
    sizes = [len(body["failed"]) for name, body in outcome.engine.calls if name == "records"]
    assert sum(sizes) == 10_000
    assert max(sizes) <= 1000
