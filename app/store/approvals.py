"""Decisions of people about approvals: the first one is recorded, and its run told, in one step."""

from __future__ import annotations

from time import time_ns
from typing import Any

import orjson

from app.core.round import iso
from app.core.signals import Signal, SignalKind, encode
from app.core.states import NodeStatus, RunStatus
from app.errors import Conflict
from app.store.client import Batcher, Script
from app.store.keys import Keys

APPROVE = Script("approve")


class Approvals:
    def __init__(self, batcher: Batcher, keys: Keys) -> None:
        self._batcher = batcher
        self._keys = keys

    async def decide(
        self, run: str, ref: str, *, approved: bool, by: str, comment: str | None
    ) -> dict[str, Any]:
        """The decision that counts, {approved, by, at, comment}: this one, or the first one where it says the same.

        Raises Conflict where it was decided otherwise, or does not wait for a decision (yet, or any more).
        """
        decision = {"approved": approved, "by": by, "at": iso(time_ns() // 1_000_000), "comment": comment}
        keys, signal = self._keys, encode(Signal(SignalKind.APPROVAL, ref))
        names = [keys.node(run, ref), keys.run(run), keys.inbox(run), keys.active]
        args = [run, signal, orjson.dumps(decision), RunStatus.RUNNING, NodeStatus.WAITING]
        reply = await self._batcher.script(APPROVE, names, args, run)
        match reply[0]:
            case b"ok":
                return decision
            case b"decided":
                return same(orjson.loads(reply[1]), approved)
            case b"missing":
                raise Conflict("It has not asked for a decision yet.", state=NodeStatus.PENDING)
            case b"ending":
                raise Conflict(
                    "Its run is being cancelled: no decision is waited for.", state=RunStatus.RUNNING
                )
            case what:
                status = reply[1].decode()
                owner = "Its run" if what == b"over" else "It"
                raise Conflict(f"{owner} is {status}: no decision is waited for.", state=status)


def same(first: dict[str, Any], approved: bool) -> dict[str, Any]:
    """The first decision, where the second says the same. Raises Conflict."""
    if first["approved"] is not approved:
        told = "approved" if first["approved"] else "rejected"
        raise Conflict(f"It was {told} already by {first['by']}.", decision=first)
    return first
