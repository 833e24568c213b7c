"""A consistent snapshot of a whole server, as a replica asks for it (SYNC): one moment, while everything goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import hiredis
from redis.asyncio.connection import parse_url

from app.errors import Unavailable
from app.store.wire import tls_of

CHUNK = 1 << 20
SILENCE = 60.0
"""Seconds without a byte after which the server is given up; it sends a line feed while it forks and saves."""
MARK = 40
"""Bytes of the mark that ends a snapshot whose size is not known before."""


async def snapshot(url: str, write: Callable[[bytes], object]) -> int:
    """Write the server's RDB file; its size in bytes. Raises Unavailable where the server does not give it."""
    options: dict[str, Any] = dict(parse_url(url))
    try:
        async with asyncio.timeout(SILENCE):
            reader, writer = await _connect(url, options)
        try:
            await _login(reader, writer, options)
            return await _receive(reader, writer, write)
        finally:
            writer.transport.abort()
    except (OSError, EOFError, TimeoutError) as error:
        raise Unavailable("the server did not send its snapshot to the end") from error


async def _connect(url: str, options: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if "path" in options:
        return await asyncio.open_unix_connection(options["path"], limit=2 * CHUNK)
    host, port = options.get("host", "localhost"), int(options.get("port", 6379))
    return await asyncio.open_connection(host, port, ssl=tls_of(url, options), limit=2 * CHUNK)


async def _login(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, options: dict[str, Any]) -> None:
    user = [options["username"]] if options.get("username") else []
    if options.get("password"):
        await _ask(reader, writer, "AUTH", *user, options["password"])
    await _ask(reader, writer, "REPLCONF", "capa", "eof")


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *command: str) -> None:
    writer.write(hiredis.pack_command(cast("Any", command)))
    line = await _line(reader)
    if not line.startswith(b"+"):
        raise Unavailable(f"the server refused {command[0]}: its user may not ask for a snapshot")


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line that says something."""
    while True:
        async with asyncio.timeout(SILENCE):
            line = await reader.readuntil(b"\n")
        if line.strip():
            return line.rstrip(b"\r\n")


async def _receive(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, write: Callable[[bytes], object]
) -> int:
    writer.write(hiredis.pack_command(("SYNC",)))
    head = await _line(reader)
    if not head.startswith(b"$"):
        raise Unavailable("the server refused SYNC: its user may not ask for a snapshot")
    if not head.startswith(b"$EOF:"):
        return await _sized(reader, int(head[1:]), write)
    mark, held, size = head[5:], b"", 0
    while not held.endswith(mark):
        fresh = await _some(reader, CHUNK)
        held += fresh
        ready = held[:-MARK]
        write(ready)
        size += len(ready)
        held = held[-MARK:]
    return size


async def _sized(reader: asyncio.StreamReader, size: int, write: Callable[[bytes], object]) -> int:
    left = size
    while left:
        fresh = await _some(reader, min(left, CHUNK))
        write(fresh)
        left -= len(fresh)
    return size


async def _some(reader: asyncio.StreamReader, most: int) -> bytes:
    async with asyncio.timeout(SILENCE):
        fresh = await reader.read(most)
    if not fresh:
        raise EOFError
    return fresh
