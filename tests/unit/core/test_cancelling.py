"""Runs that end before their time: cancel, the run's timeout, on_failure: fail, and the timeout `queued`."""

from __future__ import annotations

import pytest

from app.core.signals import Signal, SignalKind

STEP = {"type": "step", "retry": {"max_attempts": 3, "initial": "1s"}}
CANCEL = Signal(SignalKind.CANCEL)


def chain(*names: str, **more):
    return {name: {**STEP, "needs": [before] if before else [], **more}
            for name, before in zip(names, ["", *names[:-1]], strict=True)}  # fmt: skip


def cancel(run) -> None:
    run.push(CANCEL)
    run.settle()


def run_timer(run) -> None:
    """The whole run's timer comes due."""
    run.now = max(run.now, run.timers[""])
    run.fire("")
    run.settle()


class TestCancel:
    def test_what_waits_is_cancelled_at_once_and_what_is_live_is_told_to_stop(self, world):
        run = world({"a": STEP, "b": STEP, "c": {**STEP, "needs": ["a", "b"]}})
        task = run.launch("a")
        cancel(run)
        assert run.statuses() == {"a": "running", "b": "cancelled", "c": "cancelled"}
        assert run.nodes["a"]["t"] == b"cancelled"
        assert run.result == "running"
        run.exit(task, code=-15)
        run.settle()
        assert (run.status("a"), run.result) == ("cancelled", "cancelled")
        run.check_ended()

    def test_what_was_ready_leaves_the_queue(self, world):
        run = world({"a": STEP})
        cancel(run)
        assert run.ready == []
        run.check_ended()

    def test_a_second_request_changes_nothing(self, world):
        run = world({"a": STEP, "b": {**STEP, "needs": ["a"]}})
        run.launch("a")
        cancel(run)
        before = (dict(run.nodes["a"]), list(run.events))
        cancel(run)
        assert (run.nodes["a"], run.events) == before

    def test_an_ended_run_stays_as_it_is(self, world):
        run = world({"a": STEP})
        run.finish("a")
        cancel(run)
        assert run.result == "succeeded"
        run.check_ended()

    def test_a_queued_run_is_over_at_once(self, world):
        run = world({"a": STEP}, begun=False)
        run.inbox.append(run.inbox[0])
        run.inbox[0] = b'{"k":"cancel"}'
        run.settle()
        assert run.result == "cancelled"
        assert run.nodes == {}

    def test_a_won_attempt_ends_as_succeeded_and_starts_nothing(self, world):
        run = world(chain("a", "b"))
        run.launch("a")
        run.output("a", {"n": 1})
        cancel(run)
        assert "t" not in run.nodes["a"]
        run.finalize("a")
        run.settle()
        assert run.statuses() == {"a": "succeeded", "b": "cancelled"}
        assert run.result == "cancelled"
        run.check_ended()

    def test_a_node_that_failed_before_makes_the_run_failed(self, world):
        run = world({"a": STEP, "b": STEP})
        run.fail("a")
        cancel(run)
        assert (run.status("b"), run.result) == ("cancelled", "failed")

    def test_back_off_and_waits_end_at_once(self, world):
        run = world({"a": STEP, "w": {"wait": {"duration": "1h"}}})
        run.fail("a", retryable=True)
        assert (run.status("a"), run.status("w")) == ("waiting", "waiting")
        cancel(run)
        assert run.result == "cancelled"
        run.check_ended()

    def test_an_attempt_that_failed_by_itself_while_it_was_told_to_stop_is_cancelled(self, world):
        run = world({"a": STEP})
        task = run.launch("a")
        cancel(run)
        run.push(Signal(SignalKind.FAIL, "a", attempt=task[1], type="Cancelled", message="told to stop"))
        run.settle()
        assert (run.status("a"), run.result) == ("cancelled", "cancelled")
        run.check_ended()

    def test_a_map_starts_nothing_further_and_ends_with_its_live_items(self, world):
        run = world({"m": {**STEP, "map": {"over": list(range(10)), "max_parallel": 2}}})
        run.finish("m:0")
        task = run.launch("m:1")
        cancel(run)
        assert run.status("m:2") == "cancelled"
        assert run.status("m") == "running"
        run.exit(task, code=-15)
        run.settle()
        assert (run.status("m:1"), run.status("m"), run.result) == ("cancelled", "cancelled", "cancelled")
        assert "m:3" not in run.nodes
        run.check_ended()

    def test_a_map_whose_items_have_all_succeeded_succeeds(self, world):
        run = world({"m": {**STEP, "map": {"over": [1]}}})
        run.launch("m:0")
        run.output("m:0", 1)
        cancel(run)
        run.finalize("m:0")
        run.settle()
        assert (run.status("m"), run.result) == ("succeeded", "cancelled")
        run.check_ended()

    @pytest.mark.parametrize("most", [1, 3, 500])
    def test_a_wide_cancel_goes_on_from_a_cursor(self, world, budget, most: int):
        budget(most)
        nodes = {f"n{i}": {**STEP, "needs": ["root"]} for i in range(600)}
        run = world({"root": STEP, **nodes, "end": {**STEP, "needs": list(nodes)}})
        run.launch("root")
        cancel(run)
        assert run.largest <= most + 2
        assert {run.status(name) for name in nodes} == {"cancelled"}


class TestTimeoutOfTheRun:
    def test_the_run_fails_with_the_type_timeout_and_no_clean_up_runs(self, world):
        run = world({"a": STEP, "tidy": {**STEP, "needs": ["a"], "join": "all_done"}}, timeout="1m")
        task = run.launch("a")
        run_timer(run)
        run.exit(task, code=-15)
        run.settle()
        assert run.statuses() == {"a": "cancelled", "tidy": "cancelled"}
        assert run.result == "failed"
        assert b'"type":"timeout"' in run.run["x"]
        run.check_ended()

    def test_a_run_that_ends_in_time_leaves_no_timer(self, world):
        run = world({"a": STEP}, timeout="1m")
        run.finish("a")
        assert run.result == "succeeded"
        run.check_ended()

    def test_while_it_is_paused_its_time_stands_still(self, world):
        run = world({"a": STEP}, timeout="1m")
        run.run["pz"] = b"%d" % run.now
        run_timer(run)
        assert run.timers == {}
        run.now += 600_000
        run.run["pt"] = b"%d" % (run.now - int(run.run.pop("pz")))
        run.push(Signal(SignalKind.RESUME))
        run.settle()
        assert run.timers[""] == run.now + 60_000
        run_timer(run)
        assert run.result == "failed"


class TestFailFast:
    def test_the_first_failure_cancels_what_runs_and_what_is_pending_and_clean_up_still_runs(self, world):
        nodes = {
            **chain("a", "b"),
            **chain("x", "y"),
            "tidy": {**STEP, "needs": ["b", "y"], "join": "all_done"},
        }
        run = world(nodes, on_failure="fail")
        task = run.launch("x")
        run.fail("a")
        assert (run.status("b"), run.nodes["x"]["t"], run.status("tidy")) == (
            "cancelled",
            b"cancelled",
            "pending",
        )
        run.exit(task, code=-15)
        run.settle()
        assert (run.status("x"), run.status("y"), run.status("tidy")) == ("cancelled", "cancelled", "ready")
        run.finish("tidy")
        assert run.result == "failed"
        assert b"node 'a' failed" in run.run["x"]
        run.check_ended()

    def test_clean_up_that_runs_already_goes_on_and_may_be_retried(self, world):
        run = world(
            {"a": STEP, "tidy": {**STEP, "needs": ["a"], "join": "all_done"}, "b": STEP}, on_failure="fail"
        )
        run.finish("a")
        run.launch("tidy")
        run.fail("b")
        run.push(Signal(SignalKind.FAIL, "tidy", attempt=1, type="Broken", message="no"))
        run.settle()
        assert run.status("tidy") == "waiting"

    def test_clean_up_below_clean_up_runs_too_and_nothing_else_does(self, world):
        tidy = {**STEP, "join": "all_done"}
        nodes = {"a": STEP, "t1": {**tidy, "needs": ["a"]}, "t2": {**tidy, "needs": ["t1"]},
                 "after": {**STEP, "needs": ["t2"]}}  # fmt: skip
        run = world(nodes, on_failure="fail")
        run.fail("a")
        run.finish("t1")
        run.finish("t2")
        assert run.statuses() == {"a": "failed", "t1": "succeeded", "t2": "succeeded", "after": "cancelled"}
        run.check_ended()

    def test_a_cancel_ends_clean_up_too(self, world):
        run = world({"a": STEP, "tidy": {**STEP, "needs": ["a"], "join": "all_done"}}, on_failure="fail")
        run.fail("a")
        cancel(run)
        assert (run.status("tidy"), run.result) == ("cancelled", "failed")
        run.check_ended()

    def test_an_allowed_failure_stops_nothing(self, world):
        run = world({"a": {**STEP, "allow_failure": True}, "b": STEP}, on_failure="fail")
        run.fail("a")
        assert run.status("b") == "ready"

    def test_another_attempt_is_no_failure(self, world):
        run = world({"a": STEP, "b": STEP}, on_failure="fail")
        run.fail("a", retryable=True)
        assert run.status("b") == "ready"


class TestQueued:
    NODE = {"a": {**STEP, "timeout": {"queued": "10s"}}}  # noqa: RUF012

    def due(self, run) -> None:
        run.now = max(run.now, run.timers["a"])
        run.fire("a")
        run.settle()

    def test_a_node_run_that_gets_no_turn_in_time_fails(self, world):
        run = world(self.NODE)
        self.due(run)
        assert (run.status("a"), run.error("a")["type"], run.result) == ("failed", "queued_timeout", "failed")
        run.check_ended()

    def test_one_that_had_its_turn_is_not_held_to_it(self, world):
        run = world(self.NODE)
        run.finish("a")
        run.check_ended()

    def test_each_wait_for_a_turn_is_counted_by_itself(self, world):
        run = world(self.NODE)
        run.fail("a", retryable=True)
        self.due(run)  # the back-off
        assert (run.status("a"), run.timers["a"]) == ("ready", run.now + 10_000)

    def test_time_paused_does_not_count(self, world):
        run = world(self.NODE)
        run.run["pz"] = b"%d" % run.now
        self.due(run)
        assert run.status("a") == "ready"
        del run.run["pz"]
        run.run["rz"] = b"%d" % (run.now + 5_000)
        self.due(run)
        assert (run.status("a"), run.timers["a"]) == ("ready", int(run.run["rz"]) + 10_000)

    def test_every_item_of_a_map_is_held_to_it(self, world):
        run = world({"m": {**STEP, "map": {"over": [1, 2]}, "timeout": {"queued": "10s"}}})
        assert set(run.timers) == {"m:0", "m:1"}


def test_resume_puts_everything_that_is_ready_into_the_queue_again(world, budget):
    budget(2)
    nodes = {**{f"n{i}": STEP for i in range(5)}, "m": {**STEP, "map": {"over": list(range(300))}}}
    run = world(nodes)
    run.launch("n3")
    waiting, run.ready = set(run.ready), []
    run.push(Signal(SignalKind.RESUME))
    run.settle()
    assert set(run.ready) == waiting


def test_a_second_resume_while_a_map_is_still_gone_through_is_no_fault(world):
    """What is left to do for the first one is asked for again by the second, and done once."""
    run = world({"m": {**STEP, "map": {"over": list(range(4))}}})
    run.ready = []
    run.push(Signal(SignalKind.RESUME))
    run.step()
    run.push(Signal(SignalKind.RESUME))
    run.inbox.reverse()
    run.settle()
    assert sorted(ref for ref, _, _ in run.ready) == ["m:0", "m:1", "m:2", "m:3"]
    assert run.result == "running"
