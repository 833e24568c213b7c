"""The connection to Redis and the coalescing pipeline that every hot path shares.

Concurrent calls of one process travel together: a call joins the batch that is being gathered while the batch before it
is on the wire, so under load one round trip (and one fsync of the server's append-only file) carries many calls, and
alone a call leaves at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any, cast

import hiredis
import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.errors import EngineFault, StoreUnavailable

Arg = str | bytes | int | float
MAX_BATCH = 512
"""Calls that travel in one pipeline at most; bounds the time one batch holds the server."""


def _lua(name: str) -> str:
    """The source of app/store/lua/NAME.lua, with each `--@include X` line replaced by lib/X.lua, each once."""
    folder = resources.files("app.store").joinpath("lua")
    text = folder.joinpath(f"{name}.lua").read_text("utf-8")
    return re.sub(
        r"^--@include (\w+)$",
        lambda m: folder.joinpath("lib", f"{m[1]}.lua").read_text("utf-8"),
        text,
        flags=re.M,
    )


def pairs(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """The pairs of a raw reply to HGETALL, ZRANGE ... WITHSCORES and the like."""
    return list(zip(flat[::2], flat[1::2], strict=True))


class Script:
    """One Lua script of app/store/lua, known by its content hash."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.source = _lua(name)
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


def connect(url: str, timeout: float, *, max_connections: int = 64, raw: bool = False) -> aioredis.Redis:
    """A client with timeouts on everything; never retries by itself, since a retry of a write must be a decision.

    A `raw` one gives replies as the server sent them: redis-py reshapes some only for some forms of a command.
    """
    client = aioredis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        socket_keepalive=True,
        health_check_interval=15,
        max_connections=max_connections,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
    )
    if raw:
        client.response_callbacks.clear()
    return client


def translate(error: Exception) -> Exception:
    """The error of ours for one of redis-py's."""
    if isinstance(
        error, RedisConnectionError | RedisTimeoutError | OutOfMemoryError | ReadOnlyError | OSError
    ):
        return StoreUnavailable()
    if isinstance(error, ResponseError):
        text = str(error)
        if text.startswith(("MISCONF", "OOM", "READONLY", "LOADING", "BUSY", "NOREPLICAS", "CLUSTERDOWN")):
            return StoreUnavailable()
        return EngineFault(f"the store refused a command: {text.split(chr(10))[0][:200]}")
    if isinstance(error, RedisError):
        return StoreUnavailable()
    return error


class Batcher:
    """Coalesces calls into pipelines. `lanes` batches may be on the wire at once."""

    def __init__(self, client: aioredis.Redis, lanes: int = 1) -> None:
        self.client = client
        self._queue: list[tuple[tuple[Arg, ...], asyncio.Future[Any], Script | None]] = []
        self._free = lanes
        self._tasks: set[asyncio.Task[None]] = set()

    def call(self, *command: Arg) -> asyncio.Future[Any]:
        """Queue one command; its reply or its error (translated) arrives in the future."""
        return self._push(command, None)

    def script(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> asyncio.Future[Any]:
        """Queue one script by its hash; loaded and sent again where the server does not know it (NOSCRIPT)."""
        return self._push(("EVALSHA", script.sha, len(keys), *keys, *args), script)

    def _push(self, command: tuple[Arg, ...], script: Script | None) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append((command, future, script))
        if self._free:
            self._free -= 1
            task = asyncio.create_task(self._drain())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return future

    async def _drain(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
                await self._send(batch)
        finally:
            self._free += 1

    async def _send(self, batch: list[tuple[tuple[Arg, ...], asyncio.Future[Any], Script | None]]) -> None:
        try:
            replies = await self._pipeline([item[0] for item in batch])
            unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:
                scripts = {s.sha: s for i in unknown if (s := batch[i][2])}
                await self._pipeline([("SCRIPT", "LOAD", s.source) for s in scripts.values()])
                again = await self._pipeline([batch[i][0] for i in unknown])
                for i, reply in zip(unknown, again, strict=True):
                    replies[i] = reply
        except asyncio.CancelledError:
            for _, future, _ in batch:
                future.cancel()
            raise
        except Exception as error:
            failure = translate(error)
            for _, future, _ in batch:
                if not future.done():
                    future.set_exception(failure)
            return
        for (_, future, _), reply in zip(batch, replies, strict=True):
            if future.done():
                continue
            if isinstance(reply, Exception):
                future.set_exception(translate(reply))
            else:
                future.set_result(reply)

    async def _pipeline(self, commands: Sequence[tuple[Arg, ...]]) -> list[Any]:
        """Send commands in one write and read as many raw replies; an error reply is a value among them.

        Packed by hiredis: redis-py's own packing was half of the processor time of a worker.
        """
        packed = b"".join([hiredis.pack_command(cast("Any", command)) for command in commands])
        pool: Any = self.client.connection_pool  # its async methods are typed as the synchronous ones
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command(packed, check_health=False)
            replies: list[Any] = []
            for _ in commands:
                try:
                    replies.append(await connection.read_response(disable_decoding=True))
                except ResponseError as error:
                    replies.append(error)
            return replies
        except BaseException:
            await connection.disconnect(
                nowait=True
            )  # replies that nobody read must not meet the next command
            raise
        finally:
            await pool.release(connection)

    async def close(self) -> None:
        """Wait for what is on the wire."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
