"""A stream that a group of workers shares: read, reclaim what a dead worker held, renew what is in hand."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import redis.asyncio as aioredis
import structlog
from redis.exceptions import ResponseError

from app.store.client import Script, translate
from app.store.keys import GROUP

log = structlog.get_logger("headrace.streams")

MAKE_GROUP = Script("make_group")


@dataclass(slots=True, frozen=True)
class Entry:
    id: str
    fields: dict[bytes, bytes]
    deliveries: int = 1


def _fields(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


class SharedStream:
    """One consumer of one stream, over a raw client. The group starts at 0 and is made again where it was lost."""

    def __init__(
        self, client: aioredis.Redis, key: str, consumer: str, group: str = GROUP, mark: str | None = None
    ) -> None:
        """`mark` is a key that is set whenever the group had to be made: what the stream held may be lost with it."""
        self._client = client
        self._mark = [mark] if mark else []
        self._group = group
        self.key = key
        self.consumer = consumer
        self._known = False
        """The group was there: whoever finds it gone must say so."""

    async def _command(self, *command: Any) -> Any:
        try:
            reply = await self._client.execute_command(*command)
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise translate(error) from error
        except Exception as error:
            raise translate(error) from error
        else:
            self._known = True
            return reply
        if self._known:
            log.error("a stream or its group was gone, and is made again", stream=self.key)
        try:
            await self._make_group()
            return await self._client.execute_command(*command)
        except Exception as error:
            raise translate(error) from error

    async def _make_group(self) -> None:
        keys = [self.key, *self._mark]
        await self._client.execute_command(
            "EVAL", MAKE_GROUP.source, len(keys), *keys, self._group, secrets.token_hex(8)
        )

    async def read(self, count: int, block_ms: int) -> list[Entry]:
        """New entries; waits at most block_ms for the first."""
        return await self._read(count, ">", "BLOCK", block_ms)

    async def own(self, count: int) -> list[Entry]:
        """Entries that were given to this consumer and are not acknowledged; not counted as a delivery."""
        return await self._read(count, "0")

    async def _read(self, count: int, after: str, *block: Any) -> list[Entry]:
        group = ("XREADGROUP", "GROUP", self._group, self.consumer, "COUNT", count)
        reply = await self._command(*group, *block, "STREAMS", self.key, after)
        rows = [row for stream in reply or [] for row in stream[1]]
        return [Entry(row[0].decode(), _fields(row[1])) for row in rows if row[1]]

    async def reclaim(self, idle_ms: int, count: int) -> list[Entry]:
        """Entries whose holder has not renewed them for idle_ms; ours from now on, with how often each was delivered."""
        pending = await self._command("XPENDING", self.key, self._group, "IDLE", idle_ms, "-", "+", count)
        if not pending:
            return []
        deliveries = {row[0]: int(row[3]) + 1 for row in pending}
        rows = await self._command("XCLAIM", self.key, self._group, self.consumer, idle_ms, *deliveries)
        return [Entry(row[0].decode(), _fields(row[1]), deliveries[row[0]]) for row in rows if row]

    async def renew(self, ids: list[str]) -> None:
        """Keep entries in hand from being reclaimed; does not count as a delivery."""
        if ids:
            await self._command("XCLAIM", self.key, self._group, self.consumer, 0, *ids, "JUSTID")

    async def drop(self, entry: Entry) -> None:
        """Take out an entry that stands for nothing any more.

        Deleted first: whoever dies in between leaves something pending, which the next reclaim clears, and no entry that
        nobody is given any more.
        """
        await self._command("XDEL", self.key, entry.id)
        await self._command("XACK", self.key, self._group, entry.id)

    async def give_back(self, entry: Entry, idle_ms: int) -> None:
        """Leave an entry to workers that can read it: soon to be reclaimed, and this delivery not counted."""
        retries = max(entry.deliveries - 1, 0)
        await self._command(
            "XCLAIM",
            self.key,
            self._group,
            self.consumer,
            0,
            entry.id,
            "IDLE",
            idle_ms // 2,
            "RETRYCOUNT",
            retries,
        )

    async def forget_consumers(self, live: set[str]) -> None:
        """Delete consumers that no live worker has and that hold nothing (deleting one drops what it holds)."""
        try:
            rows: Any = await self._client.execute_command("XINFO", "CONSUMERS", self.key, self._group)
        except ResponseError:
            return
        for row in rows:
            record = _fields(row)
            name, pending = record[b"name"].decode(), int(record[b"pending"])
            if name not in live and pending == 0:
                await self._client.execute_command("XGROUP", "DELCONSUMER", self.key, self._group, name)

    async def leave(self) -> None:
        """Take this consumer out of the group, if it holds nothing."""
        rows: Any = await self._command("XPENDING", self.key, self._group, "-", "+", 1, self.consumer)
        if not rows:
            await self._command("XGROUP", "DELCONSUMER", self.key, self._group, self.consumer)
