"""Copies all keys of an installation from one server to another, by what they hold: no matter which releases the servers are.

Groups of streams begin at 0 again: entries that were acknowledged are gone from their streams, so what is left is to be done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from app.errors import EngineFault
from app.store.client import Batcher
from app.store.keys import GROUP, Keys

PAGE = 500
"""Keys, or members of one key, that are read at a time."""


class Copier:
    def __init__(self, source: Batcher, target: Batcher, keys: Keys) -> None:
        self._source = source
        self._target = target
        self._keys = keys

    async def run(self) -> int:
        """Copy everything but who is alive now; the number of keys."""
        count = 0
        async for names in keys_of(self._source, self._keys):
            wanted = [name for name in names if self._wanted(name)]
            await asyncio.gather(*(self._copy(name) for name in wanted))
            count += len(wanted)
        return count

    def _wanted(self, name: bytes) -> bool:
        keys, text = self._keys, name.decode(errors="replace")
        return text not in (keys.workers, keys.worker_info) and not text.startswith(keys.arq_queue)

    async def _copy(self, name: bytes) -> None:
        kind, ttl = await asyncio.gather(
            self._source.call("TYPE", name), self._source.call("PEXPIRETIME", name)
        )
        match kind:
            case b"string":
                await self._target.call("SET", name, await self._source.call("GET", name))
            case b"hash":
                await self._scan("HSCAN", "HSET", name)
            case b"set":
                await self._scan("SSCAN", "SADD", name)
            case b"zset":
                await self._scan("ZSCAN", "ZADD", name, swap=True)
            case b"list":
                await self._list(name)
            case b"stream":
                await self._stream(name)
            case b"none":
                return
            case _:
                raise EngineFault(f"a key is of a kind that is not ours: {kind!r}")
        if ttl > 0:
            await self._target.call("PEXPIREAT", name, ttl)

    async def _scan(self, read: str, write: str, name: bytes, *, swap: bool = False) -> None:
        place: bytes = b"0"
        while True:
            place, rows = await self._source.call(read, name, place, "COUNT", PAGE)
            if swap:
                rows = [value for pair in zip(rows[1::2], rows[::2], strict=True) for value in pair]
            for part in _parts(rows):
                await self._target.call(write, name, *part)
            if place == b"0":
                return

    async def _list(self, name: bytes) -> None:
        start = 0
        while rows := await self._source.call("LRANGE", name, start, start + PAGE - 1):
            await self._target.call("RPUSH", name, *rows)
            start += len(rows)

    async def _stream(self, name: bytes) -> None:
        info = await self._source.call("XINFO", "STREAM", name)
        facts = dict(zip(info[::2], info[1::2], strict=True))
        place: bytes = b"-"
        while rows := await self._source.call("XRANGE", name, place, "+", "COUNT", PAGE):
            await asyncio.gather(
                *(self._target.call("XADD", name, identifier, *fields) for identifier, fields in rows)
            )
            place = b"(" + rows[-1][0]
        if facts[b"groups"]:
            await self._target.call("XGROUP", "CREATE", name, GROUP, "0", "MKSTREAM")
        if facts[b"last-generated-id"] != b"0-0" and (facts[b"length"] or facts[b"groups"]):
            await self._target.call("XSETID", name, facts[b"last-generated-id"])


def _parts(rows: list[Any]) -> Iterable[list[Any]]:
    """A small collection comes whole, whatever COUNT says: written in parts of an even number of values."""
    return (rows[start : start + 2 * PAGE] for start in range(0, len(rows), 2 * PAGE))


async def keys_of(batcher: Batcher, keys: Keys) -> AsyncIterator[list[bytes]]:
    """All keys of an installation, in pages, each once while nothing is added."""
    place: bytes = b"0"
    pattern = _literal(f"{keys.tag}:") + "*"
    while True:
        place, names = await batcher.call("SCAN", place, "MATCH", pattern, "COUNT", PAGE)
        if names:
            yield names
        if place == b"0":
            return


async def clear(batcher: Batcher, keys: Keys) -> int:
    """Remove all keys of an installation; how many."""
    count = 0
    async for names in keys_of(batcher, keys):
        await batcher.call("UNLINK", *names)
        count += len(names)
    return count


def _literal(text: str) -> str:
    """For MATCH: no character of it is a pattern."""
    return "".join("\\" + each if each in "*?[]\\^" else each for each in text)
