"""How a node run begins, whatever its kind, be it a node of the graph or an item of a map."""

from __future__ import annotations

from typing import Any

import orjson

from app.core import approvals, caching, children
from app.core.graph import Kind, NodeDef
from app.core.round import Round
from app.core.states import NODE_TERMINAL, NodeStatus
from app.core.view import Value
from app.errors import ExpressionError


def start(round_: Round, ref: str, node: NodeDef, env: dict[str, Any], **fields: Value) -> bool:
    """Begin a node run that is to run. True when it is terminal at once: an expression failed, or nothing is to be done."""
    place = f"nodes/{node.name}"
    try:
        rendered = {**fields, **node.rendered(env, place)}
        round_.writes(*rendered.values())
        if node.kind is Kind.WAIT:
            return _wait(round_, ref, node.wait_ends(env, round_.now), rendered)
        if node.kind is Kind.APPROVAL and node.approval is not None:
            approvals.begin(round_, ref, node, node.approval.text(env, place), **rendered)
            return False
        if node.cache is not None:
            name = caching.digest(round_.run.workflow, node, node.cache.text(env, place))
            view = round_.view.nodes.get(ref)  # one that takes something over was loaded
            if view is not None and view.redo:  # what is kept under its key is what it is to mend
                return run(round_, ref, node, ck=name, **rendered)
            round_.change(ref, NodeStatus.READY, y=round_.now, ck=name, **rendered)
            caching.ask(round_, ref, name)
            return False
    except ExpressionError as error:
        return fail(round_, ref, error, **fields)
    return run(round_, ref, node, **rendered)


def run(round_: Round, ref: str, node: NodeDef, **fields: Value) -> bool:
    """The first attempt of a node run that is to run itself. True when it is terminal at once."""
    if node.kind is Kind.WORKFLOW:
        return children.begin(round_, ref, node, 1, **fields)
    round_.enqueue(ref, 1, 0, **fields)
    return False


def fail(round_: Round, ref: str, error: ExpressionError, **fields: Value) -> bool:
    """It failed before it began: one of its expressions did."""
    record = orjson.dumps({"type": "expression", "message": error.message})
    round_.change(ref, NodeStatus.READY, NodeStatus.FAILED, x=record, y=round_.now, z=round_.now, **fields)
    return True


def _wait(round_: Round, ref: str, until: int, fields: dict[str, Value]) -> bool:
    view = round_.change(ref, NodeStatus.READY, NodeStatus.WAITING, y=round_.now, u=until, **fields)
    view.until = until
    if until <= round_.now:
        round_.change(ref, NodeStatus.SUCCEEDED, z=round_.now)
    else:
        round_.changes.timers[ref] = until
    return view.status in NODE_TERMINAL
