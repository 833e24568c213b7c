"""Attempts: how one is queued, fails, is retried with back-off, and what its timer finds when it comes due."""

from __future__ import annotations

import orjson

from app.core.caching import keep
from app.core.cancelling import STOP, STOP_CHECK_MS, cancelled
from app.core.graph import Kind, Retry, Timeouts
from app.core.hindrances import Hindrance
from app.core.round import Round, iso
from app.core.settle import finish_node
from app.core.signals import MACHINE_LOST, REWOUND, Signal, SignalKind
from app.core.states import NODE_LIVE, NODE_TERMINAL, NodeStatus
from app.core.tasks import split_ref
from app.core.view import NodeView, Value

INFRA_BUDGET = 10
"""Infrastructure faults that a node run survives; they do not count as attempts."""
INFRA_RETRY = Retry(max_attempts=INFRA_BUDGET, initial_ms=1_000, factor=2.0, max_ms=30_000)
NOT_RETRYABLE_EXIT = 42
"""The exit code by which a program says that another attempt is pointless."""
REFUSED_EXIT = 3
"""The exit code of a program that was told that it does not hold the node run any more."""
ROOM_CHECK_MS = 30_000
"""How often a launch is looked at that the cluster has no room for."""
SILENCE = frozenset({"heartbeat_timeout", "start_timeout"})
"""What a launch is stopped for that nothing was heard of."""
FINALIZE_GRACE_MS = 60_000
"""After output is accepted, how long finalize may take before the node run is succeeded without it."""


def backoff(retry: Retry, failures: int, jitter: float) -> int:
    """ms to wait after the nth failure: exponential, capped, and between half and all of it by `jitter` (0..1)."""
    delay = min(float(retry.max_ms), retry.initial_ms * retry.factor ** min(failures - 1, 64))
    return round(delay * (0.5 + 0.5 * jitter))


def succeed(round_: Round, ref: str) -> None:
    """The attempt ended well: free its slots, end the node run, tell its children."""
    node = round_.node(ref)
    round_.changes.release.append((ref, node.attempt, node.launch))
    round_.changes.timers[ref] = None
    round_.change(ref, NodeStatus.SUCCEEDED, z=round_.now)
    keep(round_, ref)
    finish_node(round_, ref)


def fail_attempt(
    round_: Round,
    ref: str,
    kind: str,
    message: str,
    *,
    retryable: bool = True,
    infra: bool = False,
    delay: int = 0,
) -> None:
    """The attempt ended badly: another one after a back-off where policy allows, else the node run has failed.

    The back-off lasts at least `delay` ms.
    """
    node = round_.node(ref)
    retry = round_.definition(ref).retry
    error = orjson.dumps({"type": kind, "message": message[:4096]})
    past = {"attempt": node.attempt, "started": iso(node.starting) if node.starting else None, "ended": iso(round_.now),
            "error": orjson.Fragment(error), "infrastructure": infra}  # fmt: skip
    record: dict[str, Value] = {f"A{node.attempt}.{node.launch}": orjson.dumps(past), "x": error}
    if _is_call(round_, ref):
        record["dw"] = ""
    elif round_.definition(ref).kind is Kind.WORKFLOW:
        record["ch"] = ""
    round_.changes.release.append((ref, node.attempt, node.launch))
    again = (
        node.launch + node.disruptions < INFRA_BUDGET
        if infra
        else retryable and node.attempt < retry.max_attempts
    )
    if node.stop == STOP or (again and round_.doomed(round_.definition(ref))):
        cancelled(round_, ref, **record)
    elif infra and again:
        delay = backoff(INFRA_RETRY, node.launch + 1, round_.jitter(ref))
        _wait(round_, ref, node, delay, attempt=node.attempt, launch=node.launch + 1, **record)
    elif again:
        delay = max(backoff(retry, node.attempt, round_.jitter(ref)), delay)
        _wait(round_, ref, node, delay, attempt=node.attempt + 1, launch=node.launch, **record)
    else:
        round_.changes.timers[ref] = None
        round_.change(ref, NodeStatus.FAILED, z=round_.now, **record)
        finish_node(round_, ref)


def _wait(
    round_: Round, ref: str, node: NodeView, delay: int, *, attempt: int, launch: int, **fields: Value
) -> None:
    until = round_.now + delay
    # a child run ended: its node run waits already
    path = () if node.status is NodeStatus.WAITING else (NodeStatus.WAITING,)
    round_.change(ref, *path, a=attempt, l=launch, u=until, t="", g=0, h=0, b=0, r=0, **fields)
    node.launch, node.until, node.stop = launch, until, ""
    node.launched = node.heartbeat = node.starting = node.running = 0
    round_.changes.timers[ref] = until


def after_the_end(round_: Round, signal: Signal) -> None:
    """The run was ended by an engine fault while attempts were live: each gives its slot back when its process is gone."""
    node = round_.view.nodes.get(signal.ref)
    if node is None or node.status not in NODE_LIVE or _is_map(round_, signal.ref):
        return
    call = _is_call(round_, signal.ref)
    if call:
        round_.changes.calls.append((signal.ref, node.attempt, node.launch))
    if call or signal.kind in (SignalKind.DONE, SignalKind.FAIL, SignalKind.EXIT):
        round_.changes.release.append((signal.ref, node.attempt, node.launch))
        round_.changes.timers[signal.ref] = None
        round_.change(signal.ref, NodeStatus.CANCELLED, z=round_.now)
    elif signal.kind is SignalKind.DUE:
        round_.changes.timers[signal.ref] = round_.now + STOP_CHECK_MS
        round_.change(signal.ref, t="run_ended", tm=round_.now)


def done(round_: Round, signal: Signal) -> None:
    """The final checkpoint was accepted."""
    node = round_.node(signal.ref)
    if node.status is NodeStatus.RUNNING and node.attempt == signal.attempt:
        succeed(round_, signal.ref)


def failed(round_: Round, signal: Signal) -> None:
    """The node reported its own failure; a won attempt cannot fail any more."""
    node = round_.node(signal.ref)
    if node.status is NodeStatus.RUNNING and node.attempt == signal.attempt and not node.won:
        fail_attempt(
            round_, signal.ref, signal.type, signal.message, retryable=signal.retryable, delay=signal.delay
        )


def deferred(round_: Round, signal: Signal) -> None:
    """Its launch could not begin now (the circuit of its host is open): it waits without a slot, and is the same attempt."""
    ref, node = signal.ref, round_.node(signal.ref)
    if node.status is not NodeStatus.STARTING or (node.attempt, node.launch) != (
        signal.attempt,
        signal.launch,
    ):
        return
    round_.changes.release.append((ref, node.attempt, node.launch))
    if round_.doomed(round_.definition(ref)):
        cancelled(round_, ref)
        return
    _wait(round_, ref, node, signal.delay, attempt=node.attempt, launch=node.launch, dw=signal.message)


def exited(round_: Round, signal: Signal) -> None:
    """The executor saw a launch end."""
    ref, node = signal.ref, round_.node(signal.ref)
    if node.status not in NODE_LIVE or (node.attempt, node.launch) != (signal.attempt, signal.launch):
        return
    if node.won:
        succeed(round_, ref)
    elif node.stop and not _excused(node, signal):
        fail_attempt(round_, ref, node.stop, f"stopped: {node.stop.replace('_', ' ')}{_hindered(node)}")
    elif signal.infra:
        fail_attempt(round_, ref, signal.type or "lost", signal.message, infra=True)
    elif signal.type == REWOUND and _lost(node, signal):
        text = "the store began anew while the process was there, and may have lost what it had said"
        fail_attempt(round_, ref, "lost", text, infra=True)
    elif signal.type and signal.type != REWOUND:
        fail_attempt(round_, ref, signal.type, signal.message, retryable=signal.retryable)
    elif signal.code == 0 and node.status is NodeStatus.STARTING:
        _plain_success(round_, ref, signal)
    elif signal.code == 0:
        fail_attempt(round_, ref, "incomplete", "the program exited with 0 before its last step had ended")
    else:
        fail_attempt(
            round_, ref, "exit", _exit_text(signal.code), retryable=signal.code != NOT_RETRYABLE_EXIT
        )


def _excused(node: NodeView, signal: Signal) -> bool:
    """Whether what it was stopped for is that it said nothing, and its machine was lost: an infrastructure fault."""
    return signal.type == MACHINE_LOST and node.stop in SILENCE


def _lost(node: NodeView, signal: Signal) -> bool:
    """Whether an end in doubt says nothing of the attempt: 0 may be its success or a plain program's, and a program that goes
    on where the store has forgotten it is refused."""
    if node.status is NodeStatus.STARTING:
        return signal.code in (0, REFUSED_EXIT)
    return signal.code != NOT_RETRYABLE_EXIT


def _hindered(node: NodeView) -> str:
    """What kept a launch from running until it was given up."""
    found = Hindrance.of(node.executor, node.attempt, node.launch)
    return f" ({found.code}: {found.detail})" if found.code and node.stop.endswith("_timeout") else ""


def _plain_success(round_: Round, ref: str, signal: Signal) -> None:
    """A program that never learned the protocol: exit 0 is its success, what it left is its metadata."""
    metadata = (signal.output or "null").encode()
    round_.change(ref, NodeStatus.RUNNING, m=metadata)
    round_.set_metadata(ref, metadata)
    succeed(round_, ref)


def _exit_text(code: int | None) -> str:
    if code is None:
        return "the process ended; its exit code is unknown"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def due(round_: Round, signal: Signal) -> None:
    """A timer came due. What it means is read from the state, since a heartbeat only writes a field."""
    ref, node = signal.ref, round_.node(signal.ref)
    if node.status in NODE_TERMINAL or node.status is NodeStatus.PENDING:
        round_.changes.timers[ref] = None
    elif node.status is NodeStatus.WAITING:
        _due_waiting(round_, ref, node)
    elif node.status is NodeStatus.READY:
        _due_ready(round_, ref, node)
    elif node.status in NODE_LIVE and not _is_map(round_, ref):
        _due_live(round_, ref, node)


def _due_waiting(round_: Round, ref: str, node: NodeView) -> None:
    if node.until > round_.now:
        round_.changes.timers[ref] = node.until
    elif round_.definition(ref).kind is Kind.WAIT:
        round_.changes.timers[ref] = None
        round_.change(ref, NodeStatus.SUCCEEDED, z=round_.now)
        finish_node(round_, ref)
    else:
        round_.changes.timers[ref] = None
        if round_.doomed(round_.definition(ref)):
            return  # the sweep cancels it
        round_.enqueue(ref, node.attempt, node.launch)


def _due_ready(round_: Round, ref: str, node: NodeView) -> None:
    """It waits for its turn; what it waited while its run was paused does not count."""
    limit, run = round_.definition(ref).timeouts.queued_ms, round_.run
    if limit is None:
        round_.changes.timers[ref] = None
        return
    deadline = (round_.now if run.paused else max(node.ready, run.resumed)) + limit
    if deadline > round_.now:
        round_.changes.timers[ref] = deadline
        return
    error = orjson.dumps({"type": "queued_timeout", "message": "it had no turn within its timeout 'queued'"})
    round_.unready(ref)
    round_.changes.timers[ref] = None
    round_.change(ref, NodeStatus.FAILED, z=round_.now, x=error)
    finish_node(round_, ref)


def _due_live(round_: Round, ref: str, node: NodeView) -> None:
    limits = round_.definition(ref).timeouts
    if node.won:
        deadline, reason = node.won + FINALIZE_GRACE_MS, ""
    elif node.stop:
        deadline, reason = node.stop_at + STOP_CHECK_MS, node.stop
    elif node.status is NodeStatus.STARTING and not node.launched:
        deadline, reason = _start_deadline(round_, node, limits)
    elif node.status is NodeStatus.STARTING:
        deadline, reason = node.launched + limits.run_ms, "run_timeout"
    elif _is_call(round_, ref):
        deadline, reason = node.running + limits.run_ms, "run_timeout"
    else:
        beat = max(node.heartbeat, node.running, round_.view.resumed) + limits.heartbeat_ms
        end = node.running + limits.run_ms
        deadline, reason = (beat, "heartbeat_timeout") if beat <= end else (end, "run_timeout")
    if deadline > round_.now:
        round_.changes.timers[ref] = deadline
    elif node.won:
        succeed(round_, ref)
    elif _is_call(round_, ref):
        _give_up_call(round_, ref, node, reason)
    else:
        # the attempt ends when its process is confirmed gone: the executor stops it and reports its exit
        round_.changes.timers[ref] = round_.now + STOP_CHECK_MS
        round_.change(ref, t=reason, tm=round_.now)


def _start_deadline(round_: Round, node: NodeView, limits: Timeouts) -> tuple[int, str]:
    """When a launch that does not run is given up, and why. Where the cluster has no room for it, it still waits in a queue."""
    found = Hindrance.of(node.executor, node.attempt, node.launch)
    if not found.no_room:
        return max(node.starting, found.room) + limits.start_ms, "start_timeout"
    if limits.queued_ms is None:
        return round_.now + ROOM_CHECK_MS, ""
    return max(node.ready, round_.run.resumed) + limits.queued_ms, "queued_timeout"


def _is_call(round_: Round, ref: str) -> bool:
    """Whether it is a call of a service: nothing of ours runs there, so its attempt ends when the engine says so."""
    return round_.definition(ref).kind is Kind.SERVICE


def _give_up_call(round_: Round, ref: str, node: NodeView, reason: str) -> None:
    """End the attempt of a service without its answer; its worker hears of it, and tells the service where it can."""
    round_.changes.calls.append((ref, node.attempt, node.launch))
    fail_attempt(round_, ref, reason, f"stopped: {reason.replace('_', ' ')}")


def _is_map(round_: Round, ref: str) -> bool:
    """Whether it is the parent of items, which has no process of its own."""
    return split_ref(ref)[1] is None and round_.definition(ref).map is not None
