"""Triggers that are dead, what they brought, and the way back into the queue (B1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import orjson

from app.errors import Backpressure, Conflict, NotFound
from app.store.client import Batcher, Script
from app.store.ids import run_of
from app.store.keys import Keys
from app.store.triggers import ENTRY_TAKES_OVER, ENTRY_VERSION, RECEIPT_MS

REDRIVE = Script("redrive")


@dataclass(slots=True, frozen=True)
class Dead:
    """A dead trigger."""

    receipt: str
    workflow: str
    record: dict[str, Any]
    """What it brought, as accept wrote it: p params, ev event, src source, v version, up the run it refers to."""

    @property
    def source(self) -> str:
        return str(self.record.get("src", ""))

    @property
    def refers(self) -> bool:
        """Whether it is a retry or fork: of an earlier run, in a version that was chosen then."""
        return bool(self.record.get("up"))


class DeadLetters:
    def __init__(self, batcher: Batcher, keys: Keys, backlog: int) -> None:
        self._batcher = batcher
        self._keys = keys
        self._backlog = backlog

    async def get(self, receipt: str) -> Dead:
        """Raises NotFound; Conflict for one that is not dead, or whose content cannot be read any more."""
        key = self._keys.receipt(receipt)
        state, workflow, payload = await self._batcher.call("HMGET", key, "s", "w", "d")
        if state is None:
            raise NotFound(f"There is no trigger '{receipt}'.")
        if state != b"dead":
            raise _not_dead(state.decode())
        try:
            record = orjson.loads(payload or b"")
        except orjson.JSONDecodeError:
            record = None
        if not isinstance(record, dict) or not workflow:
            raise Conflict("What this trigger brought was damaged: it must be sent again.", state="dead")
        return Dead(receipt, workflow.decode(), cast("dict[str, Any]", record))

    async def redrive(self, dead: Dead, version: int, params: dict[str, Any]) -> str:
        """Queue it durably, with these params for this version; the run's id.

        Raises Conflict where it is not dead any more, Backpressure, StoreUnavailable.
        """
        run = run_of(dead.receipt)
        payload = orjson.dumps({**dead.record, "w": dead.workflow, "v": version, "r": run, "p": params})
        keys = [self._keys.triggers, self._keys.receipt(dead.receipt), self._keys.dead]
        entry = ENTRY_TAKES_OVER if dead.refers else ENTRY_VERSION
        args = (self._backlog, payload, dead.receipt, run, version, entry, RECEIPT_MS)
        reply = await self._batcher.script(REDRIVE, keys, args, dead.receipt)
        if reply == b"full":
            raise Backpressure(retry_after=5)
        if reply != b"ok":
            raise _not_dead("queued or started")
        return run


def _not_dead(state: str) -> Conflict:
    return Conflict(f"Only a dead trigger is redriven; this one is {state}.", state=state)
