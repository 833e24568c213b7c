"""Child runs: a node that is a run of another workflow. Waiting for it holds no slot.

    ready -> waiting, its trigger queued in the same commit -> the child's end is a signal -> succeeded | again | failed

Each attempt has a child run of its own, whose id follows from the attempt; so no redelivery can start a second one. Cancel
goes down in the commit that ends the waiting, failure and output come up in the commit that ends the child. While the run is
paused it starts none: the node run stays ready until resume.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import orjson

from app.core.graph import NodeDef
from app.core.round import Round
from app.core.signals import TOO_DEEP
from app.core.states import NodeStatus
from app.core.view import ChildStart

MAX_DEPTH = 8
"""Levels of child runs below a run that is nobody's child."""


def child_id(run: str, ref: str, attempt: int, now: int) -> str:
    """The id of the child run of one attempt: sortable by time as every id of a run is."""
    digest = blake2b(f"{run}|{ref}|{attempt}".encode(), digest_size=7).hexdigest()[:13]
    return f"r{now:011x}{digest}"


def begin(round_: Round, ref: str, node: NodeDef, attempt: int, **fields: Any) -> bool:
    """Start the child run of an attempt. True where the node run is terminal instead: it is too deep."""
    assert node.child is not None
    path = round_.to_ready(ref)
    if round_.run.depth >= MAX_DEPTH:
        message = f"child runs go at most {MAX_DEPTH} levels deep"
        error = orjson.dumps({"type": TOO_DEEP, "message": message})
        round_.mark_too_deep()
        round_.change(ref, *path, NodeStatus.FAILED, a=attempt, x=error, y=round_.now, z=round_.now, **fields)
        return True
    if round_.run.paused:
        round_.change(ref, *path, a=attempt, y=round_.now, **fields)
        return False
    child = child_id(round_.run.id, ref, attempt, round_.now)
    view = round_.change(
        ref, *path, NodeStatus.WAITING, a=attempt, y=round_.now, b=round_.now, u=0, ch=child, **fields
    )
    view.child, view.until, view.ready, view.starting = child, 0, round_.now, round_.now
    round_.changes.children.append(ChildStart(child, ref, attempt, node.child.workflow, node.child.version))
    if node.child.limit_ms is not None:
        round_.changes.timers[ref] = round_.now + node.child.limit_ms
    return False
