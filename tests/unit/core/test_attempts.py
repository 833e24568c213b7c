"""Attempts: retries with back-off, faults that do not count, winning, and what timers find."""

from __future__ import annotations

import pytest

from app.core.attempts import FINALIZE_GRACE_MS, INFRA_BUDGET, backoff
from app.core.graph import Retry
from app.core.signals import MACHINE_LOST, REWOUND, Signal, SignalKind

RETRY = {"max_attempts": 3, "initial": "1s", "factor": 2, "max": "100s"}
ONE = {"a": {"type": "step", "retry": RETRY}}


def exit_of(run, *, code: int | None = 1, **more):
    """Launch the node, let its process end, decide."""
    task = run.launch("a")
    run.exit(task, code=code, **more)
    run.settle()
    return task


def pass_time(run):
    """Up to the next timer, and fire it."""
    ref = min(run.timers, key=run.timers.get)
    run.now = max(run.now, run.timers[ref])
    run.fire(ref)
    run.settle()


def test_backoff_doubles_up_to_its_cap_and_jitter_takes_at_most_half():
    retry = Retry(max_attempts=9, initial_ms=1_000, factor=2.0, max_ms=5_000)
    assert [backoff(retry, n, 1.0) for n in (1, 2, 3, 4, 400)] == [1_000, 2_000, 4_000, 5_000, 5_000]
    assert [backoff(retry, n, 0.0) for n in (1, 2, 3, 4, 400)] == [500, 1_000, 2_000, 2_500, 2_500]


def test_a_failed_attempt_waits_without_its_slot_and_then_has_another(world):
    run = world(ONE)
    exit_of(run)
    assert run.status("a") == "waiting"
    assert not run.holders
    assert run.now + 500 <= run.timers["a"] <= run.now + 1_000
    pass_time(run)
    assert run.ready == [("a", 2, 0)]


def test_after_its_last_attempt_a_node_has_failed_with_the_last_error(world):
    run = world(ONE)
    for _ in range(2):
        exit_of(run, code=1)
        pass_time(run)
    exit_of(run, code=7)
    assert run.status("a") == "failed"
    assert run.error("a") == {"type": "exit", "message": "exit code 7"}
    run.check_ended()


@pytest.mark.parametrize("code", [42])
def test_exit_code_42_says_that_another_attempt_is_pointless(world, code: int):
    run = world(ONE)
    exit_of(run, code=code)
    assert run.status("a") == "failed"


@pytest.mark.parametrize(("code", "message"), [(-9, "killed by signal 9"), (3, "exit code 3")])
def test_how_a_process_ended_is_told(world, code: int, message: str):
    run = world(ONE)
    exit_of(run, code=code)
    assert run.error("a")["message"] == message


def test_a_failure_that_the_node_calls_final_is_not_retried(world):
    run = world(ONE)
    run.fail("a", retryable=False)
    assert run.status("a") == "failed"


def test_exit_0_without_the_last_step_is_a_failed_attempt(world):
    run = world(ONE)
    exit_of(run, code=0)
    assert (run.status("a"), run.error("a")["type"]) == ("waiting", "incomplete")


def test_exit_0_of_a_program_that_never_called_start_is_its_success(world):
    run = world(ONE)
    run.admit(run.ready[0])
    run.exit(("a", 1, 0), code=0, output='{"count":3}')
    run.settle()
    assert (run.status("a"), run.metadata("a")) == ("succeeded", {"count": 3})


@pytest.mark.parametrize("code", [0, 3])
def test_an_end_that_the_store_may_have_forgotten_is_an_infrastructure_fault(world, code: int):
    """It looks like a plain program's success, or its failure."""
    run = world(ONE)
    run.admit(run.ready[0])
    run.exit(("a", 1, 0), code=code, type=REWOUND)
    run.settle()
    assert (run.status("a"), run.error("a")["type"]) == ("waiting", "lost")
    pass_time(run)
    assert run.launch("a") == ("a", 1, 1), "the same attempt, launched again"


def test_a_program_without_the_protocol_fails_by_its_own_exit_code_whatever_the_store_may_have_forgotten(
    world,
):
    run = world(ONE)
    run.admit(run.ready[0])
    run.exit(("a", 1, 0), code=1, type=REWOUND)
    run.settle()
    assert run.error("a") == {"type": "exit", "message": "exit code 1"}


@pytest.mark.parametrize(("code", "kind"), [(0, "lost"), (1, "lost"), (42, "exit")])
def test_one_that_had_called_start_may_have_lost_what_it_said_later(world, code: int, kind: str):
    run = world(ONE)
    exit_of(run, code=code, type=REWOUND)
    assert run.error("a")["type"] == kind


def test_infrastructure_faults_do_not_count_as_attempts_and_have_a_budget_of_their_own(world):
    run = world(ONE)
    for fault in range(INFRA_BUDGET):
        assert exit_of(run, code=None, type="lost", infra=True) == ("a", 1, fault)
        pass_time(run)
    exit_of(run, code=None, type="lost", infra=True)
    assert (run.status("a"), run.error("a")["type"]) == ("failed", "lost")
    run.check_ended()


def test_what_an_earlier_attempt_still_says_changes_nothing(world):
    run = world(ONE)
    first = exit_of(run)
    pass_time(run)
    run.launch("a")
    for kind in (SignalKind.EXIT, SignalKind.FAIL, SignalKind.DONE):
        run.push(Signal(kind, "a", attempt=first[1], launch=first[2], code=1))
    run.settle()
    assert run.status("a") == "running"


class TestAWonAttempt:
    """Once output is accepted, nothing can change the attempt."""

    @pytest.fixture
    def run(self, world):
        made = world(ONE)
        made.task = made.launch("a")
        made.output("a", {"count": 3})
        return made

    @pytest.mark.parametrize(
        "end",
        [{"code": 1}, {"code": -9}, {"code": None, "type": "lost", "infra": True}, {"code": 42}, {"code": 0}],
    )
    def test_succeeds_however_its_process_ends(self, run, end):
        run.exit(run.task, **end)
        run.settle()
        assert run.status("a") == "succeeded"
        run.check_ended()

    def test_cannot_fail_by_its_own_word(self, run):
        run.push(Signal(SignalKind.FAIL, "a", attempt=1, type="Broken", retryable=False))
        run.settle()
        assert run.status("a") == "running"

    def test_succeeds_without_finalize_when_its_grace_is_over(self, run):
        run.now += FINALIZE_GRACE_MS - 1
        run.fire("a")
        run.settle()
        assert run.status("a") == "running"
        pass_time(run)
        assert run.status("a") == "succeeded"
        run.check_ended()

    def test_outlives_its_run_timeout(self, run):
        run.now += 10 * 3_600_000
        run.fire("a")
        run.settle()
        assert run.status("a") == "succeeded"


class TestTimers:
    """A heartbeat only writes a field: the timer that comes due reads what is true then."""

    NODE = {"a": {"type": "step", "timeout": {"start": "10s", "run": "5m", "heartbeat": "60s"}}}  # noqa: RUF012

    def test_a_fresh_heartbeat_moves_the_timer(self, world):
        run = world(self.NODE)
        run.launch("a")
        run.now += 50_000
        run.nodes["a"]["h"] = b"%d" % run.now
        run.now += 10_000
        run.fire("a")
        run.settle()
        assert run.timers["a"] == run.now + 50_000
        assert b"t" not in run.nodes["a"]

    def test_silence_stops_the_process_and_its_end_is_a_failed_attempt(self, world):
        run = world(self.NODE)
        task = run.launch("a")
        pass_time(run)
        assert run.nodes["a"]["t"] == b"heartbeat_timeout"
        assert run.status("a") == "running", "the attempt ends when its process is confirmed gone"
        run.exit(task, code=-15)
        run.settle()
        assert (run.status("a"), run.error("a")["type"]) == ("waiting", "heartbeat_timeout")

    def test_silence_of_a_machine_that_was_lost_is_an_infrastructure_fault(self, world):
        """Fault row 25: the heartbeat may run out before the cluster has noticed."""
        run = world(self.NODE)
        task = run.launch("a")
        pass_time(run)
        run.exit(task, code=None, type=MACHINE_LOST, infra=True)
        run.settle()
        assert (run.status("a"), run.error("a")["type"]) == ("waiting", MACHINE_LOST)
        pass_time(run)
        assert run.ready == [("a", 1, 1)]

    def test_what_ran_too_long_on_a_machine_that_was_lost_ran_too_long(self, world):
        run = world({"a": {**self.NODE["a"], "retry": {"max_attempts": 1}}})
        run.admit(run.ready[0])
        run.launched("a")
        pass_time(run)
        run.exit(("a", 1, 0), code=None, type=MACHINE_LOST, infra=True)
        run.settle()
        assert (run.status("a"), run.error("a")["type"]) == ("failed", "run_timeout")

    def test_silence_during_a_pause_of_the_store_is_not_held_against_a_node(self, world):
        run = world(self.NODE)
        run.launch("a")
        run.now += 600_000 // 10
        run.fire("a")
        view, signals = run.load()
        view.resumed = run.now - 1_000
        from app.core.decide import decide

        changes = decide(view, signals, run.now, 0.5)
        assert changes.timers == {"a": run.now - 1_000 + 60_000}

    def test_a_process_that_never_comes_up_is_stopped_by_its_start_timeout(self, world):
        run = world(self.NODE)
        run.admit(run.ready[0])
        pass_time(run)
        assert run.nodes["a"]["t"] == b"start_timeout"

    def test_a_program_without_the_protocol_is_stopped_by_its_run_timeout(self, world):
        run = world(self.NODE)
        run.admit(run.ready[0])
        run.launched("a")
        pass_time(run)
        assert run.now == run.events[-1].get("now", run.now)
        assert run.nodes["a"]["t"] == b"run_timeout"

    def test_heartbeats_do_not_help_past_the_run_timeout(self, world):
        run = world(self.NODE)
        run.launch("a")
        run.now += 300_000
        run.nodes["a"]["h"] = b"%d" % run.now
        run.fire("a")
        run.settle()
        assert run.nodes["a"]["t"] == b"run_timeout"

    def test_a_wait_node_holds_no_slot_and_succeeds_when_it_is_due(self, world):
        run = world({"a": {"wait": {"duration": "90s"}}})
        assert (run.status("a"), run.timers["a"], run.ready) == ("waiting", run.now + 90_000, [])
        pass_time(run)
        assert run.status("a") == "succeeded"
        run.check_ended()

    def test_a_wait_of_nothing_succeeds_at_once(self, world):
        assert world({"a": {"wait": {"duration": "0s"}}}).result == "succeeded"

    def test_a_timer_of_an_ended_node_does_nothing(self, world):
        run = world({"a": {"type": "step"}, "b": {"type": "step"}})
        run.finish("a")
        run.push(Signal(SignalKind.DUE, "a"))
        run.settle()
        assert run.status("a") == "succeeded"
