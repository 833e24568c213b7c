"""One message after another becomes triggers; a message is let go of only when it is durably accepted.

What comes again is answered by the idempotency keys of its events, so a source may deliver as often as it likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

from app.core.cloudevents import read_events
from app.errors import InputError, Unavailable
from app.intake import Intake

log = structlog.get_logger("headrace.listener")

LONGEST_PAUSE = 5.0
"""Seconds between tries while the store is away or its queue is full."""

DeadLetter = Callable[[str, str, bytes], Awaitable[None]]
"""Keeps a message that is no event: its place, the reason, its body."""


@dataclass(slots=True, frozen=True)
class Message:
    """What a source delivers. `place` tells where it stands there; `attributes` are the event's in binary mode."""

    place: str
    content_type: str | None
    attributes: Mapping[str, str]
    body: bytes


class Receiver:
    """`receive` returns when a message needs no further delivery."""

    def __init__(self, intake: Intake, dead_letter: DeadLetter) -> None:
        self._intake = intake
        self._dead_letter = dead_letter

    async def receive(self, message: Message) -> None:
        """Accept the events of a message, or keep it as a dead letter; tries until the store has taken it."""
        while True:
            try:
                await self._receive(message)
                return
            except Unavailable as error:
                pause = min(error.retry_after, LONGEST_PAUSE)
                log.warning("the message waits", place=message.place, reason=error.message, seconds=pause)
                await asyncio.sleep(pause)

    async def _receive(self, message: Message) -> None:
        try:
            events = read_events(message.content_type, message.attributes, message.body)
            all_taken = await self._intake.take(events)
        except InputError as error:
            details = "; ".join(f"{place.pointer}: {place.detail}" for place in error.places[:8])
            reason = f"{error.message} {details}".strip()
            log.error("the message cannot be taken", place=message.place, reason=reason)
            await self._dead_letter(message.place, reason, message.body)
            return
        for taken in all_taken:
            log.info(
                "event",
                place=message.place,
                workflow=taken.workflow,
                state=taken.state,
                receipt=taken.receipt,
            )
