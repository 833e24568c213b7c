"""Approvals: a person decides whether the run goes on. Waiting holds no slot.

    ready -> waiting -> succeeded (approved) | failed (rejected, approval_timeout)

The first decision is recorded in the node run by the script that takes it, together with "won": neither a timer nor the end of
the run can end the node run another way between that record and its signal.
"""

from __future__ import annotations

from typing import Any

import orjson

from app.core.graph import NodeDef
from app.core.round import Round
from app.core.states import NodeStatus


def begin(round_: Round, ref: str, node: NodeDef, message: str, **fields: Any) -> None:
    """Ask: the node run waits for a decision, at most for its timeout."""
    assert node.approval is not None
    until = 0 if node.approval.timeout_ms is None else round_.now + node.approval.timeout_ms
    path = (*round_.to_ready(ref), NodeStatus.WAITING)
    now = round_.now
    round_.change(ref, *path, y=now, b=now, u=until, am=message, **fields).until = until
    if until:
        round_.changes.timers[ref] = until


def outcome(decision: dict[str, Any]) -> tuple[NodeStatus, dict[str, bytes]]:
    """How {approved, by, at, comment} ends the node run, and the fields that say so."""
    by, at, comment = decision["by"], decision["at"], decision.get("comment")
    if decision["approved"]:
        return NodeStatus.SUCCEEDED, {"m": orjson.dumps({"approved_by": by, "at": at, "comment": comment})}
    message = f"rejected by {by}: {comment}" if comment else f"rejected by {by}"
    return NodeStatus.FAILED, {"x": orjson.dumps({"type": "rejected", "message": message})}
