"""Several things that are decided at once: each sees what those before it did. Found by the stories of the oracle."""

from __future__ import annotations

from app.core.signals import Signal, SignalKind

STEPS = {"a": {"type": "step"}, "b": {"type": "step", "needs": ["a"]}}
CANCEL, RESUME = Signal(SignalKind.CANCEL), Signal(SignalKind.RESUME)


def test_what_a_resume_queues_and_a_cancel_ends_is_not_admitted(world):
    """The commit admits what its decision made ready, without another look: it would start what is cancelled."""
    run = world(STEPS)
    run.ready = []  # the run was paused: its admission was refused
    for signal in (CANCEL, RESUME, Signal(SignalKind.SWEEP)):
        run.push(signal)
    run.step()
    run.settle()
    assert (run.status("a"), run.ready) == ("cancelled", [])
    run.check_ended()


def test_what_becomes_ready_and_is_resumed_is_queued_once(world):
    run = world(STEPS)
    run.launch("a")
    run.output("a", None)
    run.finalize("a")
    run.push(RESUME)
    run.settle()
    assert run.ready == [("b", 1, 0)]


def test_a_back_off_that_is_over_in_a_run_that_ends_early_queues_nothing(world):
    run = world(STEPS)
    run.fail("a", retryable=True)
    run.now = run.timers["a"]
    run.push(CANCEL)
    run.fire("a")
    run.settle()
    assert (run.status("a"), run.ready) == ("cancelled", [])
    run.check_ended()


def test_an_approval_that_is_looked_at_as_it_begins_keeps_its_timer(world):
    run = world({"a": {"approval": {"message": "?", "timeout": "1h"}}}, begun=False)
    run.push(Signal(SignalKind.DUE, "a"))
    run.settle()
    assert run.timers == {"a": run.now + 3_600_000}


def test_a_wait_that_is_looked_at_as_it_begins_does_not_end(world):
    run = world({"a": {"wait": {"duration": "1h"}}}, begun=False)
    run.push(Signal(SignalKind.DUE, "a"))
    run.settle()
    assert (run.status("a"), run.timers) == ("waiting", {"a": run.now + 3_600_000})
