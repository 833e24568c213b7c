"""What loadtests/shapes compares the engine with: the scheduler, and the reading of WfFormat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from loadtests.shapes.greedy import Attempt, makespan
from loadtests.shapes.wfformat import read


def once(**seconds: float) -> dict[str, list[Attempt]]:
    return {name: [Attempt(each, fails=False)] for name, each in seconds.items()}


def test_a_chain_takes_the_sum_of_its_nodes():
    assert makespan({"a": [], "b": ["a"]}, once(a=1, b=2), slots=4, back_off=0) == 3


def test_what_is_ready_shares_the_slots():
    assert makespan({"a": [], "b": [], "c": []}, once(a=2, b=3, c=2), slots=2, back_off=0) == 4


def test_a_failed_attempt_takes_its_time_and_its_back_off():
    attempts = {"a": [Attempt(0.5, fails=True), Attempt(1, fails=False)]}
    assert makespan({"a": []}, attempts, slots=1, back_off=0.25) == 1.75


def test_a_back_off_holds_no_slot():
    attempts = {**once(b=1), "a": [Attempt(1, fails=True), Attempt(1, fails=False)]}
    assert makespan({"a": [], "b": []}, attempts, slots=1, back_off=1) == 3


def document(**changes: Any) -> dict[str, Any]:
    tasks = [{"id": "late", "parents": ["early"]}, {"id": "early", "parents": []}]
    times = [{"id": "early", "runtimeInSeconds": 1.5}, {"id": "late", "runtimeInSeconds": 2}]
    return {"workflow": {"specification": {"tasks": tasks}, "execution": {"tasks": times}}, **changes}


def test_tasks_are_named_in_an_order_in_which_they_can_run(tmp_path: Path):
    (tmp_path / "pair.json").write_bytes(orjson.dumps(document()))
    shape = read(tmp_path / "pair.json")
    assert (shape.name, shape.width) == ("pair", 1)
    assert shape.needs == {"t00000": [], "t00001": ["t00000"]}
    assert shape.runtimes == {"t00000": 1.5, "t00001": 2.0}


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b'{"workflow": {"tasks": []}}', orjson.dumps(document(workflow={}))]
)
def test_anything_else_is_refused_by_name(tmp_path: Path, text: bytes):
    (tmp_path / "bad.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"bad\.json is no WfFormat"):
        read(tmp_path / "bad.json")
