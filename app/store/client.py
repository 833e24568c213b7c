"""The store's scripts, its clients for blocking reads, and the one wire that every short call of a process shares."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import hiredis
import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.errors import EngineFault, StoreUnavailable
from app.store.wire import Arg, Wire, open_wire

LANES = 4
"""Wires of one process."""
MAX_CONNECTIONS = 64
"""Of a client for blocking reads: a process has a few."""


def _lua(name: str, lists: Mapping[str, Sequence[str]]) -> str:
    """The source of app/store/lua/NAME.lua.

    Each line `--@include X` is replaced by lib/X.lua, each `--@list X` by a local table of the names in `lists`.
    """
    folder = resources.files("app.store").joinpath("lua")
    text = folder.joinpath(f"{name}.lua").read_text("utf-8")
    text = re.sub(
        r"^--@include (\w+)$",
        lambda m: folder.joinpath("lib", f"{m[1]}.lua").read_text("utf-8"),
        text,
        flags=re.M,
    )
    return re.sub(
        r"^--@list (\w+)$",
        lambda m: f"local {m[1]} = {{{', '.join(repr(each) for each in lists[m[1]])}}}",
        text,
        flags=re.M,
    )


def pairs(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """The pairs of a raw reply to HGETALL, ZRANGE ... WITHSCORES and the like."""
    return list(zip(flat[::2], flat[1::2], strict=True))


def heard(reply: asyncio.Future[Any]) -> None:
    """For a reply that nobody waits for: it may have failed, and no one has to hear of it."""
    if not reply.cancelled():
        reply.exception()


class Script:
    """One Lua script of app/store/lua, known by its content hash."""

    def __init__(self, name: str, **lists: Sequence[str]) -> None:
        self.name = name
        self.source = _lua(name, lists)
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


def connect(url: str, timeout: float, *, raw: bool = False) -> aioredis.Redis:
    """A client with timeouts on everything; never retries by itself, since a retry of a write must be a decision.

    A `raw` one gives replies as the server sent them: redis-py reshapes some only for some forms of a command.
    """
    client = aioredis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        socket_keepalive=True,
        health_check_interval=15,
        max_connections=MAX_CONNECTIONS,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
    )
    if raw:
        client.response_callbacks.clear()
    return client


def scan_place(cursor: str | None) -> tuple[str, int]:
    """A SCAN's own cursor and how many of its answer were given out, of the cursor of one of our pages."""
    place, _, given = (cursor or "0").partition(".")
    return str(min(int(place), (1 << 64) - 1)), int(given or 0)


def translate(error: Exception) -> Exception:
    """The error of ours for one of redis-py's or hiredis'."""
    if isinstance(
        error, RedisConnectionError | RedisTimeoutError | OutOfMemoryError | ReadOnlyError | OSError
    ):
        return StoreUnavailable()
    if isinstance(error, ResponseError | hiredis.ReplyError):
        text = str(error)
        if text.startswith(("MISCONF", "OOM", "READONLY", "LOADING", "BUSY", "NOREPLICAS", "CLUSTERDOWN")):
            return StoreUnavailable()
        return EngineFault(f"the store refused a command: {text.split(chr(10))[0][:200]}")
    if isinstance(error, RedisError):
        return StoreUnavailable()
    return error


class _Call:
    """One call on its way: where its answer goes, and how to send it again when the server lost our scripts."""

    __slots__ = ("command", "future", "lane", "script")

    def __init__(
        self, lane: _Lane, command: tuple[Arg, ...], future: asyncio.Future[Any], script: Script | None
    ) -> None:
        self.lane = lane
        self.command = command
        self.future = future
        self.script = script

    def __call__(self, reply: Any) -> None:
        future = self.future
        if future.done():
            return
        if not isinstance(reply, Exception):
            future.set_result(reply)
        elif self.script is not None and str(reply).startswith("NOSCRIPT"):
            script, self.script = self.script, None
            self.lane.resend(script, self)
        else:
            future.set_exception(translate(reply))


class _Lane:
    """One wire, which is made again when it is lost; no call is ever sent twice."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._wire: Wire | None = None
        self._early: list[_Call] = []
        """Calls that wait for the connection."""
        self._connecting: asyncio.Task[None] | None = None

    @property
    def writes(self) -> int:
        return self._wire.writes if self._wire is not None else 0

    def push(self, command: tuple[Arg, ...], script: Script | None) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call = _Call(self, command, future, script)
        if self._wire is not None and not self._wire.lost:
            self._wire.send(command, call)
        else:
            self._early.append(call)
            if self._connecting is None:
                self._connecting = asyncio.create_task(self._connect())
        return future

    def resend(self, script: Script, call: _Call) -> None:
        """The server did not know a script: load it, and send the call that nothing was done for."""
        if self._wire is None or self._wire.lost:
            call(ConnectionError("the connection is lost"))
            return
        self._wire.send(("SCRIPT", "LOAD", script.source), lambda _: None)
        self._wire.send(call.command, call)

    async def _connect(self) -> None:
        try:
            wire = await open_wire(self._url, self._timeout)
        except Exception as error:  # whatever it is, no call may wait for ever
            calls, self._early, self._connecting = self._early, [], None
            for call in calls:
                call(ConnectionError(str(error)))
            return
        calls, self._early, self._connecting, self._wire = self._early, [], None, wire
        for call in calls:
            wire.send(call.command, call)

    async def close(self) -> None:
        """Wait for what is on the wire, then hang up."""
        if self._connecting is not None:
            await self._connecting
        if self._wire is not None:
            with contextlib.suppress(ConnectionError):
                await self._wire.idle()
            self._wire.abort()
            self._wire = None


class Batcher:
    """Every short call of a process, on a few wires.

    Calls for the same `subject` (a run, a receipt) share a wire and are executed in the order in which they were made.
    One wire would do, but the server reads 16 KiB of a connection between two fsyncs: several let it do more for each.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._lanes = [_Lane(url, timeout) for _ in range(LANES)]

    @property
    def writes(self) -> int:
        """Writes to the present connections; concurrent calls share one."""
        return sum(lane.writes for lane in self._lanes)

    def call(self, *command: Arg, subject: str = "") -> asyncio.Future[Any]:
        """Queue one command; its raw reply or its error (translated) arrives in the future."""
        return self._lanes[hash(subject) % LANES].push(command, None)

    def script(
        self, script: Script, keys: Sequence[str], args: Sequence[Arg], subject: str = ""
    ) -> asyncio.Future[Any]:
        """Queue one script by its hash; loaded and sent again where the server does not know it (NOSCRIPT)."""
        command = ("EVALSHA", script.sha, len(keys), *keys, *args)
        return self._lanes[hash(subject) % LANES].push(command, script)

    async def close(self) -> None:
        """Wait for what is on its way, then hang up."""
        for lane in self._lanes:
            await lane.close()
