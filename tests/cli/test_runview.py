"""The tree of a run."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from app.cli.runview import LOOKS, FailedRecord, RunView, render
from app.core.states import NodeStatus, RunStatus


def printed(view: RunView, *, width: int = 80, limit: int = 200, now: float = 1767607300.0) -> str:
    file = io.StringIO()
    Console(file=file, width=width, highlight=False, no_color=True).print(render(view, now, limit=limit))
    return file.getvalue()


def test_a_finished_run_fits_80_columns(brand_run: dict[str, Any], brand_nodes: list[dict[str, Any]]):
    lines = [line.rstrip() for line in printed(RunView(brand_run, brand_nodes)).splitlines()]
    assert max(map(len, lines)) <= 80
    assert lines == [
        "brand-aggregator v3  r01k9brand  ✔ succeeded in 4.25 s",
        "node        state          time  tries",
        "read        ✔ succeeded  0.84 s      1  count 60",
        "filter      ✔ succeeded  0.84 s      2",
        "split       ✔ succeeded  0.84 s      1",
        "├─ reprice  ✔ succeeded  0.84 s      1  8/8 items",
        "└─ images   ✔ succeeded  0.84 s      1  8/8 items",
        "merge       ✔ succeeded  0.84 s      1",
        "publish     ✔ succeeded  0.84 s      1  count 60",
    ]


def test_the_ledger_of_failed_records_follows_the_tree(
    brand_run: dict[str, Any], brand_nodes: list[dict[str, Any]]
):
    brand_nodes[4]["failed_records"] = 1
    record = FailedRecord(
        "images", 3, {"index": 2, "key": "petit-orme-09", "type": "BadImage", "message": "no picture"}
    )
    text = printed(RunView(brand_run, brand_nodes, [record]))
    assert "8/8 items, 1 failed record\n" in text
    assert text.endswith("\nFailed records:\n  images:3  petit-orme-09  BadImage: no picture\n")


def test_a_failed_node_tells_its_error_without_its_control_characters(brand_run: dict[str, Any]):
    error = {"type": "ValueError", "message": "\x1b[2Jno price"}
    node = {"name": "read", "status": "failed", "attempt": 3, "error": error, "needs": []}
    text = printed(RunView({**brand_run, "status": "failed"}, [node]))
    assert "✘ failed" in text
    assert "ValueError: \\x1b[2Jno price" in text


def test_the_error_of_an_attempt_that_was_made_good_is_not_shown(brand_run: dict[str, Any]):
    node = {
        "name": "read",
        "status": "succeeded",
        "attempt": 2,
        "needs": [],
        "error": {"type": "Lost", "message": "x"},
    }
    assert "Lost" not in printed(RunView(brand_run, [node]))


def test_a_running_node_shows_its_progress_and_the_time_so_far(brand_run: dict[str, Any]):
    node = {"name": "read", "status": "running", "attempt": 1, "started": 1767607200000, "needs": [],
            "progress": {"done": 500, "total": 1000}}  # fmt: skip
    text = printed(RunView({**brand_run, "status": "running", "ended": None}, [node]), now=1767607205.0)
    assert "● running  5.00 s      1  500/1000 records" in text


def test_of_many_nodes_those_that_failed_or_run_are_shown(brand_run: dict[str, Any]):
    nodes = [{"name": f"n{i}", "status": "succeeded", "needs": []} for i in range(30)]
    nodes[25]["status"], nodes[28]["status"] = "failed", "running"
    text = printed(RunView({**brand_run, "nodes": {"total": 30}}, nodes), limit=2)
    assert "n25" in text
    assert "n28" in text
    assert "n1 " not in text
    assert "… 28 more nodes" in text


@pytest.mark.parametrize("status", [*NodeStatus, *RunStatus])
def test_every_state_has_an_icon_and_a_colour(status: str):
    assert str(status) in LOOKS


def test_what_a_waiting_node_waits_for_stands_beside_it(brand_run: dict[str, Any]):
    nodes = [
        {"name": "sub", "status": "waiting", "child": "r0child", "needs": []},
        {"name": "ask", "status": "waiting", "approval": {"message": "Publish 5?"}, "needs": []},
        {"name": "load", "status": "succeeded", "cached_from": {"run": "r0"}, "attempt": 0, "needs": []},
    ]
    text = printed(RunView(brand_run, nodes))
    assert all(word in text for word in ("child run r0child", "asks: Publish 5?", "from the cache"))
