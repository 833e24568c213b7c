"""What people do to runs: cancel, pause, resume. Each asks once; the run's worker does what follows."""

from __future__ import annotations

from time import time_ns

import orjson

from app.core.round import iso
from app.core.signals import Signal, SignalKind, encode
from app.core.states import RUN_TERMINAL
from app.errors import NotFound
from app.store.client import Arg, Batcher, Script
from app.store.ids import receipt_of
from app.store.keys import Keys

CANCEL = Script("cancel")
PAUSE = Script("pause")
RESUME = Script("resume")

CANCEL_SIGNAL = encode(Signal(SignalKind.CANCEL))
_RESUME = encode(Signal(SignalKind.RESUME))
TERMINAL: list[Arg] = [len(RUN_TERMINAL), *sorted(RUN_TERMINAL)]


class Control:
    """Each call gives the run's status as it was found, and raises NotFound; one that ended stays as it is."""

    def __init__(self, batcher: Batcher, keys: Keys) -> None:
        self._batcher = batcher
        self._keys = keys

    async def cancel(self, run: str) -> str:
        """Its node runs are stopped and cancelled, and nothing of it begins any more."""
        keys = self._keys
        names = [keys.run(run), keys.inbox(run), keys.active, keys.events(run), keys.receipt(receipt_of(run))]
        reply = await self._batcher.script(CANCEL, names, [run, CANCEL_SIGNAL, _event("cancel"), *TERMINAL])
        return _status(run, reply)

    async def pause(self, run: str) -> str:
        """Nothing of it is admitted; what runs goes on."""
        keys = self._keys
        names = [keys.run(run), keys.events(run), keys.receipt(receipt_of(run))]
        return _status(run, await self._batcher.script(PAUSE, names, [run, _event("pause"), *TERMINAL]))

    async def resume(self, run: str) -> str:
        """What is ready waits for admission again."""
        keys = self._keys
        names = [keys.run(run), keys.inbox(run), keys.active, keys.events(run), keys.receipt(receipt_of(run))]
        return _status(run, await self._batcher.script(RESUME, names, [run, _RESUME, _event("resume")]))


def _event(action: str) -> bytes:
    """What those who watch the run are told."""
    return control_event(action, time_ns() // 1_000_000)


def control_event(action: str, now: int) -> bytes:
    """The event of something that was asked of a run."""
    return orjson.dumps({"type": "control", "action": action, "at": iso(now)})


def _status(run: str, reply: bytes | None) -> str:
    if reply is None:
        raise NotFound(f"There is no run '{run}'.")
    return reply.decode()
