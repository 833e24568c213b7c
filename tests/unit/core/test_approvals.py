"""Approvals: a person decides. The first decision counts, whatever a timer says meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.decide import decide
from app.core.signals import Signal, SignalKind
from tests.unit.core.conftest import START


def asked(**more: Any) -> dict[str, Any]:
    approval = {"message": "Publish ${{ params.n }} products?", **more}
    return {"a": {"approval": approval}, "b": {"type": "step", "needs": ["a"]}}


def test_a_ready_approval_asks_and_waits_without_a_slot(world):
    run = world(asked(timeout="1h"), {"n": 5})
    assert run.status("a") == "waiting"
    assert run.nodes["a"]["am"] == b"Publish 5 products?"
    assert run.timers == {"a": START + 3_600_000}
    assert not run.ready


def test_who_approved_and_when_is_its_metadata(world):
    run = world(asked(), {"n": 5})
    run.decide_approval("a", approved=True, comment="fine")
    run.settle()
    assert run.metadata("a") == {"approved_by": "key-1", "at": "2026-01-01T00:00:00.000Z", "comment": "fine"}
    assert run.status("b") == "ready"
    told = [event for event in run.events if event["type"] == "approval"]
    assert [(event["node"], event["decision"], event["by"]) for event in told] == [("a", "approved", "key-1")]
    run.finish("b")
    run.check_ended()


def test_a_rejection_fails_the_node_at_once(world):
    run = world(asked(timeout="1h"), {"n": 5})
    run.decide_approval("a", approved=False, comment="too many")
    run.settle()
    assert run.error("a") == {"type": "rejected", "message": "rejected by key-1: too many"}
    assert run.statuses() == {"a": "failed", "b": "blocked"}
    run.check_ended()


def test_nobody_in_time_is_a_failure(world):
    run = world(asked(timeout="1h"), {"n": 5})
    run.now += 3_600_000
    run.fire("a")
    run.settle()
    assert run.error("a")["type"] == "approval_timeout"
    run.check_ended()


def test_without_a_timeout_it_waits_for_ever(world):
    run = world(asked(), {"n": 5})
    assert run.timers == {}
    run.push(Signal(SignalKind.DUE, "a"))
    run.settle()
    assert run.status("a") == "waiting"


def test_a_decision_that_comes_while_the_timeout_is_decided_counts(world):
    run = world(asked(timeout="1h"), {"n": 5})
    run.now += 3_600_000
    run.fire("a")
    view, signals = run.load()
    timed_out = decide(view, signals, run.now, 0.5)
    run.decide_approval("a", approved=True)
    assert not run.commit(view, view.run.revision, timed_out), "the recorded decision fences the timeout off"
    run.settle()
    assert run.status("a") == "succeeded"


def test_a_second_signal_changes_nothing(world):
    run = world(asked(), {"n": 5})
    run.decide_approval("a", approved=True)
    run.push(Signal(SignalKind.APPROVAL, "a"))
    run.settle()
    assert run.status("a") == "succeeded"
    run.check_history()


def test_a_run_that_is_cancelled_waits_for_nobody(world):
    run = world(asked(timeout="1h"), {"n": 5})
    run.push(Signal(SignalKind.CANCEL))
    run.settle()
    assert (run.status("a"), run.timers) == ("cancelled", {})


def test_each_item_of_a_map_is_asked_about(world):
    nodes = asked()
    nodes["a"] = {"approval": {"message": "Brand ${{ item }}?"}, "map": {"over": ["x", "y"], "tolerate": 0.5}}
    run = world(nodes)
    assert [run.nodes[f"a:{i}"]["am"] for i in (0, 1)] == [b"Brand x?", b"Brand y?"]
    run.decide_approval("a:0", approved=True)
    run.decide_approval("a:1", approved=False)
    run.settle()
    assert run.status("a") == "succeeded"
    assert (run.metadata("a")["succeeded"], run.metadata("a")["failed"]) == (1, 1)


@pytest.mark.parametrize("node", [{"approval": {"message": "${{ params.gone }}"}},
                                  {"wait": {"duration": "${{ params.gone }}"}}])  # fmt: skip
def test_what_cannot_be_rendered_fails_the_node_with_its_place(world, node: dict[str, Any]):
    run = world({"a": node}, {})
    assert run.status("a") == "failed"
    assert "params.gone does not exist" in run.error("a")["message"]


@pytest.mark.parametrize(("approved", "status"), [(True, "succeeded"), (False, "failed")])
def test_a_decision_that_was_taken_before_the_cancel_is_decided_counts(world, approved: bool, status: str):
    run = world(asked(), {"n": 1})
    run.push(Signal(SignalKind.CANCEL))
    run.decide_approval("a", approved=approved)
    run.settle()
    assert (run.status("a"), run.status("b")) == (status, "cancelled")
    run.check_ended()
