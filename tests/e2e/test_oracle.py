"""The oracle of the chaos program accuses: a history with one fault in it is told from one without."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadtests.oracle import Expected, Verdict, judge_events, judge_nodes, judge_output, judge_receipts
from loadtests.senders import Answers

Event = dict[str, Any]


def run_event(before: str | None, after: str) -> Event:
    return {"type": "run", "from": before, "to": after}


def node_event(before: str, after: str, attempt: int = 1) -> Event:
    return {"type": "node", "node": "read", "from": before, "to": after, "attempt": attempt}


def step_event(step: str, attempt: int = 1, epoch: int = 1) -> Event:
    return {"type": "step", "node": "read", "step": step, "attempt": attempt, "epoch": epoch}


@pytest.fixture
def events() -> list[Event]:
    """A run of one node that failed once in the middle and was tried again."""
    return [
        run_event(None, "queued"),
        run_event("queued", "running"),
        node_event("pending", "ready"),
        node_event("ready", "starting"),
        node_event("starting", "running"),
        step_event("configure"),
        node_event("running", "waiting", 2),
        node_event("waiting", "ready", 2),
        node_event("ready", "starting", 2),
        node_event("starting", "running", 2),
        *(step_event(step, 2, 2) for step in ("execute", "output", "finalize")),
        node_event("running", "succeeded", 2),
        run_event("running", "succeeded"),
    ]


def rules(events: list[Event]) -> set[str]:
    verdict = Verdict()
    judge_events("r1", events, verdict)
    return {violation.rule for violation in verdict.violations}


def test_an_honest_history_is_not_accused(events: list[Event]):
    assert rules(events) == set()


Change = Callable[[list[Event]], object]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda e: e.insert(2, run_event("queued", "running")), "a run is queued, started and ended once"),
        (lambda e: e.append(run_event("running", "succeeded")), "a run is queued, started and ended once"),
        (lambda e: e.pop(), "a run is queued, started and ended once"),
        (lambda e: e.append(node_event("succeeded", "ready", 2)), "nothing happens after a run has ended"),
        (lambda e: e.insert(5, step_event("configure")), "every step ends once, in order"),
        (lambda e: e.pop(10), "every step ends once, in order"),
        (lambda e: e.insert(10, step_event("execute", 2, 1)), "only the live epoch has effects"),
        (lambda e: e.insert(7, step_event("execute", 2, 1)), "only the live epoch has effects"),
        (lambda e: e.insert(9, node_event("ready", "starting", 2)), "only transitions of the table, one after another"),
        (lambda e: e.insert(11, step_event("output", 1, 2)), "attempts never fall"),
    ],
)  # fmt: skip
def test_each_kind_of_fault_in_the_transitions_is_found(events: list[Event], change: Change, rule: str):
    change(events)
    assert rule in rules(events)


def test_a_node_run_that_was_started_more_often_than_it_failed_is_found():
    verdict = Verdict()
    record = {"name": "read", "status": "succeeded", "attempt": 1, "infrastructure_faults": 0, "epoch": 1}
    judge_nodes("r1", [record], {"read": Counter(ready=2, starting=2, running=1)}, verdict)
    assert [violation.rule for violation in verdict.violations] == [
        "a node run starts once for each attempt and fault"
    ]


def test_two_instances_of_one_attempt_are_found():
    verdict = Verdict()
    record = {"name": "read", "status": "succeeded", "attempt": 1, "infrastructure_faults": 0, "epoch": 2}
    judge_nodes("r1", [record], {"read": Counter(ready=1, starting=1, running=1)}, verdict)
    assert [violation.rule for violation in verdict.violations] == ["one instance holds an attempt"]


@pytest.mark.parametrize(
    ("accepted", "rule"),
    [
        (
            {"m1": [("t1", "r1"), ("t2", "r2")], "m2": [("t3", "r3")]},
            "one receipt and one run for each webhook",
        ),
        ({"m1": [("t1", "r1")], "m2": [("t2", "r1")]}, "webhooks do not share a run"),
        ({"m1": [("t1", None)], "m2": [("t2", "r2")]}, "an accepted webhook has a run"),
    ],
)
def test_webhooks_without_exactly_one_run_are_found(
    accepted: dict[str, list[tuple[str, str | None]]], rule: str
):
    verdict = Verdict()
    judge_receipts(Answers(accepted), ["m1", "m2"], verdict)
    assert rule in {violation.rule for violation in verdict.violations}


def test_a_published_file_that_differs_by_one_byte_is_found(tmp_path: Path):
    verdict, right = Verdict(), hashlib.sha256(b"a\n").hexdigest()
    (tmp_path / "feed").write_bytes(b"b\n")
    output = {"uri": f"file://{tmp_path}/feed", "sha256": right, "count": 1}
    judge_output("r1", output, Expected(right, 1), verdict)
    assert [violation.rule for violation in verdict.violations] == [
        "the published file is as if nothing had happened"
    ]
