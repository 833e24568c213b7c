"""What node runs wait for that the engine carries out itself: a child run, a decision of a person, a look into the cache."""

from __future__ import annotations

from typing import Any

import orjson

from app.core import approvals, caching, children, starting
from app.core.attempts import fail_attempt, succeed
from app.core.graph import Kind
from app.core.round import Round, node_event
from app.core.services import METADATA_LIMIT
from app.core.settle import finish_node
from app.core.signals import TOO_DEEP, Signal
from app.core.states import NodeStatus, RunStatus
from app.core.view import NodeView

KINDS = frozenset({Kind.APPROVAL, Kind.WORKFLOW})


def waits(round_: Round, signal: Signal) -> bool:
    """Whether a timer belongs to a node run that waits for a child run or for a decision."""
    node = round_.view.nodes.get(signal.ref)
    return (
        node is not None and node.status is NodeStatus.WAITING and round_.definition(signal.ref).kind in KINDS
    )


def due(round_: Round, signal: Signal) -> None:
    """The timer of such a node run came due."""
    ref, node = signal.ref, round_.node(signal.ref)
    if round_.definition(ref).kind is Kind.APPROVAL:
        _due_approval(round_, ref, node)
    else:
        _due_child(round_, ref, node)


# child runs -------------------------------------------------------------------------------------------------------


def child_ended(round_: Round, signal: Signal) -> None:
    """The child run of an attempt ended, or could not be started."""
    ref, node = signal.ref, round_.node(signal.ref)
    if node.status is not NodeStatus.WAITING or node.attempt != signal.attempt or not node.child:
        return
    node.child = ""
    if signal.type != RunStatus.SUCCEEDED:
        if signal.type == TOO_DEEP:
            round_.mark_too_deep()
        fail_attempt(round_, ref, signal.type, signal.message, retryable=signal.retryable)
        return
    metadata = (signal.output or "null").encode()
    if len(metadata) > METADATA_LIMIT:
        message = f"the output of the child run is {len(metadata)} bytes, above {METADATA_LIMIT}"
        fail_attempt(round_, ref, "metadata_too_large", message, retryable=False)
        return
    round_.change(ref, m=metadata)
    round_.set_metadata(ref, metadata)
    succeed(round_, ref)


def _due_child(round_: Round, ref: str, node: NodeView) -> None:
    definition = round_.definition(ref)
    assert definition.child is not None
    if not node.child:  # its back-off
        if node.until > round_.now:
            round_.changes.timers[ref] = node.until
            return
        round_.changes.timers[ref] = None
        if not round_.doomed(definition) and children.begin(round_, ref, definition, node.attempt):
            finish_node(round_, ref)
        return
    limit = definition.child.limit_ms
    if limit is None or node.ready + limit > round_.now:
        round_.changes.timers[ref] = None if limit is None else node.ready + limit
        return
    round_.cancel_child(ref)
    fail_attempt(round_, ref, "run_timeout", "the child run took longer than the timeout 'run'")


# approvals --------------------------------------------------------------------------------------------------------


def approval_decided(round_: Round, signal: Signal) -> None:
    """Someone approved or rejected; what is recorded counts, the signal only says that there is something."""
    node = round_.node(signal.ref)
    if node.status is NodeStatus.WAITING and node.decision is not None:
        _decide(round_, signal.ref, orjson.loads(node.decision))


def _due_approval(round_: Round, ref: str, node: NodeView) -> None:
    if node.decision is not None:
        _decide(round_, ref, orjson.loads(node.decision))
    elif not node.until or node.until > round_.now:
        round_.changes.timers[ref] = node.until or None
    else:
        error = {"type": "approval_timeout", "message": "nobody decided in time"}
        _end(round_, ref, NodeStatus.FAILED, x=orjson.dumps(error))


def _decide(round_: Round, ref: str, decision: dict[str, Any]) -> None:
    told = "approved" if decision["approved"] else "rejected"
    members = {"decision": told, "by": decision["by"], "at": decision["at"]}
    round_.changes.events.append(node_event("approval", ref, members))
    status, fields = approvals.outcome(decision)
    _end(round_, ref, status, **fields)


def _end(round_: Round, ref: str, status: NodeStatus, **fields: Any) -> None:
    round_.changes.timers[ref] = None
    round_.change(ref, status, z=round_.now, **fields)
    if "m" in fields:
        round_.set_metadata(ref, fields["m"])
    finish_node(round_, ref)


# the cache --------------------------------------------------------------------------------------------------------


def looked_up(round_: Round, signal: Signal) -> None:
    """The key of a node run that is ready was looked up."""
    ref, node = signal.ref, round_.node(signal.ref)
    if node.status is not NodeStatus.READY or node.cache_key != signal.message or node.attempt:
        return
    if round_.doomed(round_.definition(ref)):
        return  # the sweep cancels it
    if caching.hit(round_, signal) or starting.run(round_, ref, round_.definition(ref)):
        finish_node(round_, ref)
