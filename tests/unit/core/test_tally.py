"""What ended is counted for /metrics: runs and node runs by how they ended, and how long they took and waited."""

from __future__ import annotations

from typing import Any

from app.api.tallied import families
from app.core.decide import decide
from app.core.tally import Tally

TWO = {"a": {"type": "step", "pools": ["db"]}, "b": {"type": "step", "needs": ["a"], "when": "1 > 2"}}


def settle(run, tally: Tally) -> None:
    """Decide until the inbox is empty, and count what was committed."""
    while run.inbox:
        view, signals = run.load()
        revision = view.run.revision
        changes = decide(view, signals, run.now, 0.5)
        assert run.commit(view, revision, changes)
        tally.count(view, changes, run.now)


def samples(counts: dict[str, int]) -> dict[tuple[str, Any], float]:
    """(name, the one label that is no bound of a bucket) -> value, of what Prometheus would read."""
    found: dict[tuple[str, Any], float] = {}
    for family in families(counts):
        for sample in family.samples:
            found[sample.name, tuple(sample.labels.values())] = sample.value
    return found


def test_a_run_and_its_node_runs_are_counted_once_with_their_times(world):
    run, tally = world(TWO, begun=False), Tally()
    settle(run, tally)
    run.now += 3_000
    run.admit(run.ready[0])
    run.now += 1_000
    run.launched("a")
    run.start("a")
    run.now += 20_000
    run.output("a", None)
    run.finalize("a")
    settle(run, tally)
    found = samples(tally.take())
    assert found["headrace_runs_total", ("succeeded",)] == 1
    assert found["headrace_run_duration_seconds_sum", ()] == 24
    assert found["headrace_node_runs_total", ("step", "succeeded")] == 1
    assert found["headrace_node_runs_total", ("step", "skipped")] == 1
    assert found["headrace_node_duration_seconds_count", ("step",)] == 1
    assert found["headrace_node_duration_seconds_sum", ("step",)] == 20
    assert [found["headrace_node_duration_seconds_bucket", ("step", bound)] for bound in ("10", "30")] == [
        0,
        1,
    ]
    for pool in ("db", "global"):
        assert found["headrace_queue_wait_seconds_sum", (pool,)] == 3
    assert tally.take() == {}


def test_an_attempt_that_is_tried_again_ends_nothing(world):
    run, tally = world({"a": {"type": "step", "retry": {"max_attempts": 2}}}, begun=False), Tally()
    settle(run, tally)
    run.exit(run.launch("a"), code=1)
    settle(run, tally)
    assert tally.take() == {}


def test_what_could_not_be_kept_is_counted_the_next_time(world):
    run, tally = world({"a": {"wait": {"duration": "0s"}}}, begun=False), Tally()
    settle(run, tally)
    taken = tally.take()
    tally.give_back(taken)
    assert tally.take() == taken
    assert taken["runs|succeeded"] == 1


def test_triggers_are_counted_by_the_kind_of_their_source_and_child_runs_are_among_them(world):
    tally = Tally()
    tally.trigger("hook:feed-arrived", "queued")
    tally.trigger("schedule:nightly", "filtered")
    settle(world({"a": {"workflow": "child"}}, begun=False), tally)
    found = samples(tally.take())
    assert {labels: count for (name, labels), count in found.items() if name == "headrace_triggers_total"} == {
        ("hook", "queued"): 1, ("schedule", "filtered"): 1, ("run", "queued"): 1,
    }  # fmt: skip


def test_without_any_run_the_names_are_there():
    names = {family.name for family in families({})}
    assert names == {
        "headrace_triggers", "headrace_runs", "headrace_run_duration_seconds", "headrace_node_runs",
        "headrace_node_duration_seconds", "headrace_queue_wait_seconds",
    }  # fmt: skip
