"""Ticks of schedules that a CronJob's pod posts. The token in the path names the schedule; it opens nothing else.

A tick that is not due by the store's clock, or was fired already, changes nothing: so posting one again is no harm.
"""

from __future__ import annotations

import time
from typing import Annotated

from pydantic import BaseModel, StringConstraints
from starlette.types import ASGIApp

from app.api.context import Api
from app.api.http import Call, json_reply
from app.api.schemas import Input, read
from app.core.durations import parse_instant
from app.core.json_values import decode_json
from app.core.round import iso
from app.core.tokens import TICK, verify
from app.errors import InvalidInput, Place

MOST_AHEAD_MS = 60_000
"""How far the cluster's clock may be ahead of the store's."""


class TickRequest(Input):
    """The scheduled time, RFC 3339; without one whatever is due by now."""

    time: Annotated[str, StringConstraints(max_length=64)] | None = None


class TickReceipt(BaseModel):
    """A tick, or several that were missed, and the receipt of what became of it."""

    schedule: str
    time: str
    receipt: str
    run: str | None
    state: str


class TicksTaken(BaseModel):
    """What this call fired and reported; nothing where another one was faster."""

    receipts: list[TickReceipt]


async def receive_tick(call: Call, api: Api) -> ASGIApp:
    """POST /ticks/{token}."""
    claims = verify(api.store.secret, call.params["token"], time.time_ns() // 1_000_000, TICK)
    raw = await call.body()
    request = read(TickRequest, decode_json(raw) if raw else {})
    now = await api.store.workers.now()
    if request.time is not None:
        now = max(now, _scheduled(request.time, now))
    done = await api.store.schedules.fire(claims.workflow, now)
    receipts = [(name, tick, accepted) for name, tick, accepted in done.fired]
    receipts += [(name, missed.last, accepted) for name, missed, accepted in done.missed]
    shown = [
        {
            "schedule": name,
            "time": iso(tick),
            "receipt": accepted.receipt,
            "run": accepted.run,
            "state": accepted.state,
        }
        for name, tick, accepted in receipts
    ]
    return json_reply({"receipts": shown}, 202)


def _scheduled(text: str, now: int) -> int:
    """The scheduled time in ms. Raises InvalidInput for one that is still to come."""
    try:
        tick = parse_instant(text)
    except ValueError as error:
        raise InvalidInput(places=[Place("/time", str(error))]) from None
    if tick > now + MOST_AHEAD_MS:
        raise InvalidInput(places=[Place("/time", "this time is still to come")])
    return tick
