"""Events from a Redis stream: the light alternative to Kafka.

An entry is one CloudEvent: as JSON in the field `event`, or with its attributes in fields `ce-id`, `ce-source`, ... and its
data in `data` (`content-type` says what it is). It is taken out of the stream once it is accepted.
"""

from __future__ import annotations

from app.core.cloudevents import STRUCTURED
from app.settings import Settings
from app.store.streams import Entry, SharedStream
from workers.consumer import StreamLoop
from workers.listener.receiver import Message, Receiver


def message_of(stream: str, entry: Entry) -> Message:
    """What an entry says. Bytes that are no UTF-8 are seen as such, and refused later as no event."""
    fields = {name.decode(errors="replace").lower(): value for name, value in entry.fields.items()}
    attributes = {
        name[3:]: value.decode(errors="replace")
        for name, value in fields.items()
        if name[:3] in ("ce-", "ce_")
    }
    content_type = fields.get("content-type", b"").decode(errors="replace") or None
    place = f"{stream}/{entry.id}"
    if "event" in fields:
        return Message(place, content_type or STRUCTURED, attributes, fields["event"])
    return Message(place, content_type, attributes, fields.get("data", b""))


class RedisSource:
    """Reads as one of a group: what a dead listener had is taken over within the lease."""

    def __init__(self, stream: SharedStream, receiver: Receiver, settings: Settings) -> None:
        self._stream = stream
        self._receiver = receiver
        self._loop = StreamLoop(stream, settings, self._handle)

    async def _handle(self, entry: Entry) -> None:
        await self._receiver.receive(message_of(self._stream.key, entry))
        await self._stream.drop(entry)

    async def read(self) -> None:
        """Take new entries, until draining."""
        await self._loop.read()

    async def keep(self) -> None:
        """Hold on to what is in hand, and take over what others left."""
        await self._loop.keep()

    async def drain(self) -> None:
        """Take nothing further; return when what is in hand is accepted."""
        await self._loop.drain()
        await self._stream.leave()
