"""The failed records of an earlier run are done again, and nothing else: the results are as if none had ever failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace import Context, Node
from headrace.testing import MemoryEngine, Outcome, run_node

COUNT = 100
BAD = [0, 7, 8, 40, 99]
"""The first, neighbours, one inside, the last."""


class Several(Node):
    """Turns record n into n % 3 records; those in `bad` fail."""

    type = "several"
    part_bytes = 200

    def configure(self, ctx: Context) -> Any:
        return [{"id": f"sku-{n}", "n": n} for n in range(ctx.config.get("first", 0), COUNT)]

    def execute(self, ctx: Context, record: dict[str, Any]) -> Any:
        ctx.state["seen"] = [*ctx.state.get("seen", []), record["n"]]
        if record["n"] in ctx.config["bad"]:
            raise ValueError("no price")
        return [{"n": record["n"], "turn": turn} for turn in range((record["n"] + 2) % 3)]


class Batched(Several):
    batch_size = 8

    def execute_batch(self, ctx: Context, records: list[Any]) -> list[Any]:
        return [each for record in records for each in self.execute(ctx, record)]


class Overlapped(Several):
    concurrency = 4

    async def execute(self, ctx: Context, record: dict[str, Any]) -> Any:
        return super().execute(ctx, record)


FORMS = [Several, Batched, Overlapped]


def several(node: type[Node], tmp_path: Path, run: str, bad: list[int], **options: Any) -> Outcome:
    config = {"bad": bad} | options.pop("config", {})
    return run_node(node, config=config, data_dir=tmp_path, run_id=run, tolerate=0.1, **options)


@pytest.mark.parametrize("node", FORMS)
def test_the_results_are_those_of_a_run_without_failures(tmp_path: Path, node: type[Node]) -> None:
    calm = several(node, tmp_path, "calm", [])
    first = several(node, tmp_path, "first", BAD)
    assert [entry["index"] for entry in first.failed] == BAD
    again = several(node, tmp_path, "again", [], redo=first)
    assert again.exit_code == 0
    assert again.failed == []
    assert again.records == calm.records
    assert again.digest == calm.digest
    assert again.metadata["count"] == calm.metadata["count"]


def test_only_the_failed_records_are_executed(tmp_path: Path) -> None:
    first = several(Several, tmp_path, "first", BAD)
    before = first.engine.checkpoint.data["state"]["seen"]
    again = several(Several, tmp_path, "again", [], redo=first)
    assert again.engine.checkpoint.data["state"]["seen"] == [*before, *BAD]


def test_what_fails_again_is_the_new_ledger_and_can_be_redone_once_more(tmp_path: Path) -> None:
    calm = several(Several, tmp_path, "calm", [])
    first = several(Several, tmp_path, "first", BAD)
    second = several(Several, tmp_path, "second", [8, 99], redo=first)
    assert [entry["index"] for entry in second.failed] == [8, 99]
    assert second.metadata["failed"] == 2
    third = several(Several, tmp_path, "third", [], redo=second)
    assert third.digest == calm.digest


@pytest.mark.parametrize("node", FORMS)
@pytest.mark.parametrize("kill", [[0], [2], [4], ["execute"], ["configure", 1, 3, "output"]])
def test_a_redo_that_is_killed_goes_on_where_it_was(
    tmp_path: Path, node: type[Node], kill: list[int | str]
) -> None:
    calm = several(node, tmp_path, "calm", [])
    first = several(node, tmp_path, "first", BAD)
    again = several(node, tmp_path, "again", [], redo=first, kill_at=kill, checkpoint_records=1)
    assert again.crashes == len(kill)
    assert again.digest == calm.digest
    assert again.failed == []


def test_a_redo_that_is_killed_while_it_copies_copies_nothing_twice(tmp_path: Path) -> None:
    """A position lies between any two copied records: a redo that begins at each of them ends the same."""
    calm = several(Several, tmp_path, "calm", [])
    first = several(Several, tmp_path, "first", BAD)
    whole = several(Several, tmp_path, "whole", [], redo=first, checkpoint_records=1, kill_at="output")
    assert len({tuple(position["redo"]) for position in whole.engine.positions}) > len(BAD) + 1
    for position in whole.engine.positions:
        engine = MemoryEngine(config={"bad": []}, tolerate=0.1, redo=first)
        engine.epoch = whole.engine.epoch
        engine.checkpoint = whole.engine.checkpoint._replace(
            step="configure", seq=1, data=position, metadata=None
        )
        resumed = several(Several, tmp_path, "whole", [], engine=engine)
        assert resumed.digest == calm.digest


def test_a_ledger_left_by_an_attempt_that_gave_up_is_not_redone(tmp_path: Path) -> None:
    """What failed before the position another attempt begins at is in the ledger; what came after, is that attempt's."""
    engine = MemoryEngine(config={"bad": list(range(20, 40))}, tolerate=0.1)
    assert several(Several, tmp_path, "first", [], engine=engine).exit_code == 1
    assert len(engine.ledger) == 11
    engine.attempt, engine.config = 2, {"bad": [25]}
    assert several(Several, tmp_path, "first", [], engine=engine).exit_code == 0
    assert list(engine.ledger) == [25]


def test_another_stream_is_refused_for_good(tmp_path: Path) -> None:
    first = several(Several, tmp_path, "first", BAD)
    again = several(Several, tmp_path, "again", [], redo=first, config={"first": 5})
    assert again.exit_code == 42
    assert again.error is not None
    assert "the stream is another than it was" in again.error["message"]


def test_a_ledger_that_lost_some_means_the_whole_stream(tmp_path: Path) -> None:
    """It is bounded: what it has no room for is only counted."""
    calm = several(Several, tmp_path, "calm", [])
    first = several(Several, tmp_path, "first", BAD)
    del first.engine.ledger[40]
    again = several(Several, tmp_path, "again", [], redo=first)
    assert again.digest == calm.digest
    assert len(again.engine.checkpoint.data["state"]["seen"]) == COUNT


def test_without_places_in_the_ledger_what_is_redone_comes_last(tmp_path: Path) -> None:
    """A ledger of an earlier release does not say how much was written before a record."""
    calm = several(Several, tmp_path, "calm", [])
    first = several(Several, tmp_path, "first", BAD)
    for entry in first.engine.ledger.values():
        del entry["at"]
    again = several(Several, tmp_path, "again", [], redo=first)
    assert again.records != calm.records
    assert sorted(map(str, again.records)) == sorted(map(str, calm.records))


def test_a_bad_line_that_was_mended_is_read_again(tmp_path: Path) -> None:
    class Read(Node):
        type = "read"

        def configure(self, ctx: Context) -> Any:
            return ctx.open("file:feed.ndjson")

    feed = tmp_path / "feed.ndjson"
    feed.write_text('{"id":"a"}\n{"id":\n{"id":"c"}\n')
    first = run_node(Read, data_dir=tmp_path, run_id="first", tolerate=0.5)
    feed.write_text('{"id":"a"}\n{"id":"b"}\n{"id":"c"}\n')
    again = run_node(Read, data_dir=tmp_path, run_id="again", tolerate=0.5, redo=first)
    assert [record["id"] for record in again.records] == ["a", "b", "c"]
