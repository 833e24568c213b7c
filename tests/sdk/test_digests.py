"""Digests of a run's data: the same for two runs that did the same, whatever their ids and however their parts are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headrace.digests import CHUNK, Digests, named
from headrace.files import uri_of
from headrace.node import Node
from headrace.testing import run_node


class Writes(Node):
    """A picture beside each record"""

    type = "writes"

    def configure(self, ctx: Any) -> list[dict[str, int]]:
        return [{"n": n} for n in range(5)]

    def execute(self, ctx: Any, record: dict[str, int]) -> dict[str, Any]:
        return {
            **record,
            "picture": ctx.write_file(f"{record['n']}.txt", b"%d" % (record["n"] * ctx.config.get("by", 1))),
        }


def digest(tmp_path: Path, run: str, **more: Any) -> dict[str, Any]:
    outcome = run_node(Writes, data_dir=tmp_path, run_id=run, **more)
    return Digests(run, [str(tmp_path)]).of(outcome.metadata["uri"])


def test_a_dataset_is_its_records_whatever_died_on_the_way(tmp_path: Path):
    calm = digest(tmp_path, "run-a")
    assert calm["records"] == 5
    assert digest(tmp_path, "run-b", kill_at=[2, 4], checkpoint_records=1) == calm


def test_the_files_that_records_name_count(tmp_path: Path):
    assert digest(tmp_path, "run-a") != digest(tmp_path, "run-b", config={"by": 2})


def test_the_id_of_the_run_does_not_count_in_a_file_wherever_it_is_read_in_two(tmp_path: Path):
    found: list[dict[str, Any]] = []
    for run in ("run-a", "run-b"):
        (tmp_path / run).write_bytes(b"x" * (CHUNK - 3) + run.encode() + b"y" + run.encode())
        found.append(Digests(run, [str(tmp_path)]).of(uri_of(tmp_path / run)))
    assert found[0] == found[1]
    assert found[0]["bytes"] == CHUNK - 3 + 11


def test_what_cannot_be_read_says_why(tmp_path: Path):
    digests = Digests("run-a", [str(tmp_path)])
    assert "no such file" in digests.of(uri_of(tmp_path / "gone"))["error"]
    assert "outside the data roots" in digests.of("file:///etc/hostname")["error"]


def test_uris_are_found_anywhere_in_a_value():
    assert list(named({"a": ["file:x", {"b": "file:y"}], "c": "http://z"})) == ["file:x", "file:y"]
