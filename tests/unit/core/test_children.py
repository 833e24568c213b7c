"""Child runs: a node that is a run of another workflow. Cancel goes down, failure and output come up."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.core.children import MAX_DEPTH, child_id
from app.core.decide import fail_run
from app.core.signals import Signal, SignalKind, child_ended
from app.core.states import RunStatus
from tests.unit.core.conftest import START, World, compiled


def parent(**more: Any) -> dict[str, Any]:
    return {"a": {"workflow": "child", **more}, "b": {"type": "step", "needs": ["a"]}}


def test_a_ready_node_starts_its_child_run_and_waits_without_a_slot(world):
    run = world(parent())
    (child,) = run.children
    assert (child.ref, child.attempt, child.workflow, child.version) == ("a", 1, "child", None)
    assert (run.status("a"), run.nodes["a"]["ch"].decode()) == ("waiting", child.run)
    assert not run.ready
    assert not run.holders


def test_the_output_of_the_child_run_is_the_metadata_of_its_node(world):
    run = world(parent())
    run.child_ends(run.children[0], "succeeded", {"n": 3})
    run.settle()
    assert (run.status("a"), run.metadata("a"), run.status("b")) == ("succeeded", {"n": 3}, "ready")
    run.finish("b")
    run.check_ended()


def test_a_child_run_without_output_gives_null(world):
    run = world(parent())
    run.child_ends(run.children[0], "succeeded")
    run.settle()
    assert run.metadata("a") is None


def test_a_failed_child_run_is_a_failed_attempt_and_the_next_one_has_a_child_run_of_its_own(world):
    run = world(parent(retry={"max_attempts": 2, "initial": "1s"}))
    first = run.children[0]
    run.child_ends(first, "failed")
    run.settle()
    assert (run.status("a"), run.nodes["a"]["ch"]) == ("waiting", b"")
    run.now = run.timers["a"]
    run.fire("a")
    run.settle()
    second = run.children[1]
    assert second.attempt == 2
    assert second.run != first.run
    run.child_ends(second, "failed")
    run.settle()
    assert (run.status("a"), run.status("b")) == ("failed", "blocked")
    assert run.error("a") == {"type": "child_failed", "message": f"the child run {second.run} failed"}
    run.check_ended()


def test_a_child_run_that_someone_cancels_fails_its_node_for_good(world):
    run = world(parent())
    run.child_ends(run.children[0], "cancelled")
    run.settle()
    assert (run.status("a"), run.error("a")["type"]) == ("failed", "child_cancelled")
    assert run.cancelled == []


def test_the_end_of_an_earlier_attempts_child_run_changes_nothing(world):
    run = world(parent())
    first = run.children[0]
    run.child_ends(first, "failed")
    run.child_ends(first, "failed")
    run.settle()
    run.now = run.timers["a"]
    run.fire("a")
    run.settle()
    run.child_ends(first, "succeeded", {"stale": True})
    run.settle()
    assert run.status("a") == "waiting"
    assert len(run.children) == 2


def test_cancel_goes_down_in_the_commit_that_cancels_the_node(world):
    run = world(parent())
    run.push(Signal(SignalKind.CANCEL))
    run.settle()
    assert run.cancelled == [run.children[0].run]
    assert run.result == "cancelled"
    run.check_ended()


def test_a_timeout_of_its_own_cancels_the_child_run_and_fails_the_attempt(world):
    run = world(parent(timeout={"run": "5s"}, retry={"max_attempts": 1}))
    assert run.timers["a"] == START + 5_000
    run.now += 5_000
    run.fire("a")
    run.settle()
    assert run.error("a")["type"] == "run_timeout"
    assert run.cancelled == [run.children[0].run]
    run.check_ended()


def test_without_a_timeout_of_its_own_a_node_waits_as_long_as_its_child_run_takes(world):
    run = world(parent(), defaults={"timeout": {"run": "5s"}})
    assert "a" not in run.timers


@pytest.mark.parametrize("params", [{"workflow": {"name": "child", "params": {"n": "${{ params.n }}"}}},
                                    {"config": {"n": "${{ params.n }}"}}])  # fmt: skip
def test_the_params_of_the_child_run_are_evaluated_once(world, params: dict[str, Any]):
    run = world(parent(**params), {"n": 3})
    assert orjson.loads(run.nodes["a"]["c"]) == {"n": 3}


def test_each_item_of_a_map_has_a_child_run_of_its_own(world):
    run = world(parent(map={"over": [1, 2]}, config={"n": "${{ item }}"}))
    assert [child.ref for child in run.children] == ["a:0", "a:1"]
    assert [orjson.loads(run.nodes[f"a:{i}"]["c"]) for i in (0, 1)] == [{"n": 1}, {"n": 2}]
    for child in run.children:
        run.child_ends(child, "succeeded", child.ref)
    run.settle()
    assert run.metadata("a")["items"] == ["a:0", "a:1"]


def test_child_runs_are_at_most_so_many_levels_deep(world):
    run = World(compiled(parent()))
    run.run["up"] = orjson.dumps({"r": "r0", "n": "x", "a": 1, "d": MAX_DEPTH, "via": []})
    run.settle()
    assert run.error("a")["type"] == "child_depth"
    assert run.children == []
    run.check_ended()


@pytest.mark.parametrize(("status", "kind"), [("succeeded", "succeeded"), ("failed", "child_failed")])
def test_a_run_that_is_a_child_tells_the_run_that_waits_for_it_as_it_ends(world, status: str, kind: str):
    run = World(compiled({"x": {"type": "step"}}, output={"n": "${{ nodes.x.metadata.n }}"}))
    run.run["up"] = orjson.dumps({"r": "r0", "n": "a:2", "a": 3, "d": 1, "via": ["w0"]})
    run.settle()
    if status == "succeeded":
        run.finish("x", {"n": 1})
    else:
        run.fail("x")
    ((to, signal),) = run.told
    assert (to, signal.ref, signal.attempt, signal.type) == ("r0", "a:2", 3, kind)
    assert signal.output == ('{"n":1}' if status == "succeeded" else None)


def test_an_output_too_large_for_metadata_fails_the_run(world):
    run = world({"x": {"type": "step"}}, output={"all": "${{ nodes.x.metadata.t + nodes.x.metadata.t }}"})
    run.finish("x", {"t": "x" * 140_000})
    assert run.result == RunStatus.FAILED
    assert "262144" in orjson.loads(run.run["x"])["message"]


def test_the_id_of_a_child_run_follows_from_its_attempt():
    one = child_id("r1", "a", 1, START)
    assert one == child_id("r1", "a", 1, START)
    others = {child_id("r1", "a", 2, START), child_id("r1", "b", 1, START), child_id("r2", "a", 1, START)}
    assert len({one, *others}) == 4
    assert len(one) == 25


def test_a_paused_run_starts_no_child_run_until_it_is_resumed(world):
    run = world(parent(), begun=False)
    run.run["pz"] = b"%d" % START
    run.settle()
    assert (run.status("a"), run.children, run.ready) == ("ready", [], [])
    del run.run["pz"]
    run.push(Signal(SignalKind.RESUME))
    run.settle()
    assert (run.status("a"), [child.attempt for child in run.children]) == ("waiting", [1])


def test_a_back_off_that_ends_while_the_run_is_paused_starts_the_next_child_run_at_its_resume(world):
    run = world(parent(retry={"initial": "1s"}))
    run.child_ends(run.children[0], "failed")
    run.settle()
    run.run["pz"] = b"%d" % run.now
    run.now = run.timers["a"]
    run.fire("a")
    run.settle()
    assert (run.status("a"), len(run.children), run.timers) == ("ready", 1, {})
    del run.run["pz"]
    run.push(Signal(SignalKind.RESUME))
    run.settle()
    assert [child.attempt for child in run.children] == [1, 2]


def test_what_would_be_too_deep_comes_up_as_it_is_and_is_not_tried_again():
    """Else a workflow that starts itself would be tried three times at each of eight levels."""
    run = World(compiled(parent()))
    run.run["up"] = orjson.dumps({"r": "r0", "n": "x", "a": 1, "d": MAX_DEPTH - 1, "via": []})
    run.settle()
    run.push(child_ended("a", 1, run.children[0].run, RunStatus.FAILED, None, too_deep=True))
    run.settle()
    assert (run.status("a"), run.error("a")["type"]) == ("failed", "child_depth")
    ((_, told),) = run.told
    assert (told.type, told.retryable) == ("child_depth", False)
    run.check_ended()


def test_a_run_that_the_engine_ends_by_force_lets_go_of_its_child_runs(world):
    nodes = {
        "a": {"workflow": "child"},
        "m": {"workflow": "child", "map": {"over": [1, 2]}},
        "x": {"type": "step"},
    }
    run = world(nodes)
    view, _ = run.load()
    assert run.commit(view, view.run.revision, fail_run(view, run.now, "broken"))
    run.settle()
    assert sorted(run.cancelled) == sorted(child.run for child in run.children)
    assert [run.status(ref) for ref in ("a", "m:0", "m:1")] == ["cancelled"] * 3
    assert run.inbox == []
