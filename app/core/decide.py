"""The one pure function that advances a run: decide(view, signals, now, jitter) -> changes.

    load -> decide -> commit

It handles the signals in the order of the inbox, at most MAX_CHANGES node runs a round; what does not fit, or needs
something that was not loaded, becomes a continuation signal, so a run of any size advances in bounded commits.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from app.core import attempts, cancelling, keeping, maps, waiting, walking
from app.core.expressions import Template
from app.core.graph import Graph, Kind
from app.core.round import MAX_CHANGES, NotLoaded, Round
from app.core.services import METADATA_LIMIT
from app.core.settle import finish_node, settle, start_node
from app.core.signals import Signal, SignalKind
from app.core.states import RUN_TERMINAL, Ending, RunStatus
from app.core.tasks import split_ref
from app.core.view import Changes, RunView, View, Wanted
from app.errors import EngineFault, ExpressionError


def decide(view: View, signals: Sequence[Signal], now: int, jitter: float) -> Changes:
    """The changes that follow from the head of the inbox.

    `now` is ms since the epoch by the store's clock, `jitter` is in 0..1. Raises EngineFault for a view or a signal
    that the core cannot make sense of: a bug, answered by failing the run, never by losing the signal.
    """
    round_ = Round(view, now, jitter)
    for signal in signals:
        if not round_.room:
            break
        if round_.run.status in RUN_TERMINAL and signal.kind is SignalKind.SWEEP:
            cancelling.let_go(round_, signal)
        elif round_.run.status in RUN_TERMINAL:
            attempts.after_the_end(round_, signal)
        else:
            said = len(round_.changes.append)
            _handle(round_, signal)
            if signal in round_.changes.append[said:] and not round_.changes.nodes:
                raise EngineFault(f"what a {signal.kind} signal needs could not be loaded")
        round_.changes.consumed += 1
    _finish(round_)
    return round_.changes


def _handle(round_: Round, signal: Signal) -> None:
    match signal.kind:
        case SignalKind.BEGIN:
            _begin(round_, signal.start)
        case SignalKind.KEPT:
            keeping.begin(round_, signal.start)
        case SignalKind.DONE:
            attempts.done(round_, signal)
        case SignalKind.FAIL:
            attempts.failed(round_, signal)
        case SignalKind.EXIT:
            attempts.exited(round_, signal)
        case SignalKind.DUE if not signal.ref:
            cancelling.run_due(round_)
        case SignalKind.DEFER:
            attempts.deferred(round_, signal)
        case SignalKind.DUE if waiting.waits(round_, signal):
            waiting.due(round_, signal)
        case SignalKind.CHILD:
            waiting.child_ended(round_, signal)
        case SignalKind.APPROVAL:
            waiting.approval_decided(round_, signal)
        case SignalKind.CACHE:
            waiting.looked_up(round_, signal)
        case SignalKind.DUE:
            attempts.due(round_, signal)
        case SignalKind.CANCEL:
            cancelling.cancel(round_)
        case SignalKind.SWEEP:
            cancelling.sweep(round_, signal)
        case SignalKind.RESUME:
            cancelling.resume(round_, signal)
        case SignalKind.SETTLED:
            settle(round_, signal.ref, signal.start)
        case SignalKind.EXPAND:
            if maps.go_on(round_, signal):
                finish_node(round_, signal.ref)
        case SignalKind.COLLECT:
            if maps.collect(round_, signal.ref):
                finish_node(round_, signal.ref)
        case SignalKind.FINISH:
            pass  # _finish does it, now that what it reads is loaded


def _begin(round_: Round, start: int) -> None:
    """Start the nodes without needs, from a cursor on."""
    if start == 0:
        if round_.run.status is not RunStatus.QUEUED:
            return
        round_.change_run(RunStatus.RUNNING, b=round_.now)
        if round_.graph.timeout_ms is not None:
            round_.changes.timers[""] = round_.now + round_.graph.timeout_ms
        if keeping.takes_over(round_.run):
            round_.defer(Signal(SignalKind.KEPT))
            return
    roots = round_.graph.roots
    for position in range(start, len(roots)):
        if round_.run.ending:
            return
        if not round_.room:
            round_.defer(Signal(SignalKind.BEGIN, start=position))
            return
        node = round_.graph.nodes[roots[position]]
        if start_node(round_, node, round_.env(())):
            finish_node(round_, node.name)


def _finish(round_: Round) -> None:
    """End the run when all its node runs are terminal, and render its output."""
    run = round_.run
    if run.status is not RunStatus.RUNNING or run.done < run.total:
        return
    fields: dict[str, str | int | bytes] = {"z": round_.now}
    status = _status(run)
    if round_.graph.output is not None and status is RunStatus.SUCCEEDED:
        try:
            fields["o"] = _output(round_, round_.graph.output)
        except NotLoaded:
            round_.defer(Signal(SignalKind.FINISH))
            return
        except ExpressionError as error:
            status = RunStatus.FAILED
            fields["x"] = orjson.dumps({"type": "expression", "message": error.message})
    if round_.graph.timeout_ms is not None:
        round_.changes.timers[""] = None
    round_.change_run(status, **fields)
    round_.changes.finished = status


def _output(round_: Round, output: Template) -> bytes:
    """The run's own metadata, with the same limit as a node run's. Raises ExpressionError, NotLoaded."""
    raw = orjson.dumps(output.render(round_.env(output.reads), "output"))
    if len(raw) > METADATA_LIMIT:
        raise ExpressionError(f"output: it is {len(raw)} bytes, and at most {METADATA_LIMIT} are kept")
    return raw


def _status(run: RunView) -> RunStatus:
    """How a run ends whose node runs are all terminal."""
    if run.failed or run.ending == Ending.TIMEOUT:
        return RunStatus.FAILED
    return RunStatus.CANCELLED if run.ending == Ending.CANCELLED else RunStatus.SUCCEEDED


def fail_run(view: View, now: int, message: str) -> Changes:
    """The changes that end a run whose signals cannot be decided; its signals are kept as a dead letter."""
    round_ = Round(view, now, 0.0)
    error = orjson.dumps({"type": "engine_error", "message": message})
    if view.run.status not in RUN_TERMINAL:
        round_.change_run(RunStatus.FAILED, z=now, x=error)
        if round_.graph.timeout_ms is not None:
            round_.changes.timers[""] = None
        if any(node.kind is Kind.WORKFLOW for node in round_.graph.nodes):
            round_.defer(Signal(SignalKind.SWEEP))
        round_.changes.finished = RunStatus.FAILED
    return round_.changes


def wanted(graph: Graph, signals: Sequence[Signal]) -> Wanted:
    """What must be loaded to decide these signals."""
    found = Wanted()
    refs, joins = found.refs, found.joins
    told: set[tuple[str, int]] = set()
    for signal in signals:
        if signal.kind is SignalKind.FINISH:
            refs.update(graph.output.reads if graph.output else ())
            continue
        if signal.kind in (SignalKind.SWEEP, SignalKind.RESUME):
            refs |= walking.walked(graph, signal)
            continue
        if signal.kind is SignalKind.KEPT:
            keeping.read(graph, signal.start, found)
            continue
        if not signal.ref:  # begin, cancel, the run's own timer
            continue
        name, _ = split_ref(signal.ref)
        refs.update((signal.ref, name))
        node = graph.node(name)
        refs.update(graph.nodes[index].name for index in node.item_reads)
        if signal.kind is SignalKind.COLLECT:
            refs.update(f"{name}:{index}" for index in range(signal.start))
        elif signal.kind is SignalKind.EXPAND and signal.type:
            maps.read_ahead(name, signal, found)
        elif signal.kind is SignalKind.CACHE:
            found.cached.add(signal.message)
        first = signal.start if signal.kind is SignalKind.SETTLED else 0
        if (name, first) in told:  # the items of a map have the same children
            continue
        told.add((name, first))
        for edge in node.children[first : first + MAX_CHANGES]:
            child = graph.nodes[edge.node]
            refs.update(graph.nodes[index].name for index in child.reads)
            if edge.when is not None:
                refs.update(edge.when.reads)
            if len(child.needs) > 1:
                joins.add(child.name)
    return found
