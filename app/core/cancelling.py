"""Runs that end before their time: cancel, the run's timeout, on_failure: fail (DESIGN section 5).

    end_early -> sweep: every node run that is not terminal is cancelled, a window of them a round
                 pending, ready, waiting, a service: at once; live: told to stop (`t`), cancelled when its process is gone

A won attempt is left alone: it ends as succeeded. Nothing that is doomed begins any more. After a failure the nodes
with the join all_done are no part of it: they run once what is before them is terminal; and a pending node is cancelled
only then too (app.core.settle), so that clean-up below it does not come before the end of what it cleans.
"""

from __future__ import annotations

import orjson

from app.core import children, walking
from app.core.graph import Kind
from app.core.round import Round
from app.core.settle import finish_node
from app.core.signals import Signal, SignalKind
from app.core.states import NODE_LIVE, NODE_TERMINAL, Ending, NodeStatus, RunStatus
from app.core.tasks import split_ref
from app.core.view import Value

STOP = "cancelled"
"""Why a process must stop whose node run is being cancelled."""
STOP_CHECK_MS = 30_000
"""How long a process that must stop has before its node run is looked at again."""


def cancel(round_: Round) -> None:
    """Someone asked for it. A run whose nodes have not begun is over at once; a second request changes nothing."""
    run = round_.run
    if run.status is RunStatus.QUEUED:
        round_.change_run(RunStatus.CANCELLED, z=round_.now)
        round_.changes.finished = RunStatus.CANCELLED
    elif run.ending not in (Ending.CANCELLED, Ending.TIMEOUT):
        round_.end_early(Ending.CANCELLED)


def run_due(round_: Round) -> None:
    """The timer of the whole run came due; while the run is paused its time stands still."""
    run, limit = round_.run, round_.graph.timeout_ms
    if limit is None or run.paused or run.status is not RunStatus.RUNNING:
        round_.changes.timers[""] = None
        return
    deadline = run.started + limit + run.paused_before
    if deadline > round_.now:
        round_.changes.timers[""] = deadline
        return
    round_.changes.timers[""] = None
    if run.ending not in (Ending.CANCELLED, Ending.TIMEOUT):
        message = "the run did not end within its timeout"
        round_.changes.run["x"] = orjson.dumps({"type": "timeout", "message": message})
        round_.end_early(Ending.TIMEOUT)


def sweep(round_: Round, signal: Signal) -> None:
    """One window of node runs, or of a map's items, that are to be cancelled."""
    walking.walk(round_, signal, _visit)


def _visit(round_: Round, ref: str) -> None:
    node, definition = round_.node(ref), round_.definition(ref)
    if node.status in NODE_TERMINAL or not round_.doomed(definition):
        return
    if node.status is NodeStatus.PENDING and definition.needs and round_.run.ending == Ending.FAILURE:
        return
    if node.status is NodeStatus.WAITING and node.decision is not None:
        return  # someone was told that it is approved or rejected: the signal that says so is on its way
    if node.status not in NODE_LIVE:
        if node.status is NodeStatus.READY:
            round_.unready(ref)
        cancelled(round_, ref)
    elif definition.map is not None and split_ref(ref)[1] is None:
        _stop_map(round_, ref)
    elif definition.kind is Kind.SERVICE:
        if not node.won:
            round_.changes.calls.append((ref, node.attempt, node.launch))
            round_.changes.release.append((ref, node.attempt, node.launch))
            cancelled(round_, ref)
    elif not node.won and not node.stop:
        round_.changes.timers[ref] = round_.now + STOP_CHECK_MS
        round_.change(ref, t=STOP, tm=round_.now)
        node.stop, node.stop_at = STOP, round_.now


def _stop_map(round_: Round, ref: str) -> None:
    """A map starts nothing further; with items under way it is cancelled when the last of them is terminal."""
    view = round_.node(ref)
    if view.ok + view.bad == view.count:
        return  # only its metadata is yet to be put together
    round_.change(ref, t=STOP, tm=round_.now)
    if view.cursor == view.ok + view.bad:
        cancelled(round_, ref)
    else:
        round_.defer(Signal(SignalKind.SWEEP, ref))


def cancelled(round_: Round, ref: str, **fields: Value) -> None:
    """The node run is over without a result of its own."""
    round_.changes.timers[ref] = None
    round_.cancel_child(ref)
    round_.change(ref, NodeStatus.CANCELLED, z=round_.now, **fields)
    finish_node(round_, ref)


def resume(round_: Round, signal: Signal) -> None:
    """The run was paused: what became ready and was turned away is put into the queue again."""
    run, limit = round_.run, round_.graph.timeout_ms
    if run.paused:
        return
    if limit is not None and not signal.ref and signal.start == 0 and run.started:
        round_.changes.timers[""] = run.started + limit + run.paused_before
    walking.walk(round_, signal, _enqueue_again)


def _enqueue_again(round_: Round, ref: str) -> None:
    node, definition = round_.node(ref), round_.definition(ref)
    if round_.doomed(definition):
        return  # the sweep cancels it
    if node.status is NodeStatus.READY and definition.kind is Kind.WORKFLOW and node.attempt:
        if children.begin(round_, ref, definition, node.attempt):
            finish_node(round_, ref)
    elif (
        node.status is NodeStatus.READY and node.attempt
    ):  # without an attempt its cache is yet to be looked into
        task = (ref, node.attempt, node.launch)
        if task not in round_.changes.ready:  # it may have become ready in this very decision
            round_.changes.ready.append(task)
    elif node.status is NodeStatus.RUNNING and definition.map is not None and ":" not in ref:
        round_.defer(Signal(SignalKind.RESUME, ref))


def let_go(round_: Round, signal: Signal) -> None:
    """The run was ended by an engine fault: nobody waits for its child runs any more."""
    if round_.run.done < round_.run.total:
        walking.walk(round_, signal, _leave_child)


def _leave_child(round_: Round, ref: str) -> None:
    node, definition = round_.node(ref), round_.definition(ref)
    if definition.kind is not Kind.WORKFLOW or node.status in NODE_TERMINAL:
        return
    if node.status in NODE_LIVE:  # a map of child runs
        round_.defer(Signal(SignalKind.SWEEP, ref))
    elif node.status is not NodeStatus.PENDING:
        round_.changes.timers[ref] = None
        round_.cancel_child(ref)
        round_.change(ref, NodeStatus.CANCELLED, z=round_.now)
