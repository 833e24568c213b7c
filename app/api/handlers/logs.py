"""GET /runs/{run}/nodes/{node}/logs: what the launches of a node run wrote: a file of this machine, or objects of Jobs.

Whoever reads does not see the difference, nor whether a Job's log is still being received or was archived meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from time import monotonic

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.context import Api
from app.api.handlers.runs import ref_of, visible_run
from app.api.http import Call, client_left
from app.errors import NotFound
from app.joblogs import JobLog, PartsReader
from app.logfiles import log_path

CHUNK = 64 << 10
POLL = 0.5
"""Seconds between looks at a log that is followed."""
PATIENCE = 10.0
"""Seconds after the end of its attempt that a Job's log may take to be archived while someone follows it."""
_LIVE = {"starting", "running", "ready", "waiting", "pending"}
_HEADERS = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-accel-buffering", b"no")]


async def stream_logs(call: Call, api: Api) -> ASGIApp:
    """The log of an attempt (by default the last); `follow` goes on until the attempt ends."""
    run, ref = await visible_run(call, api), ref_of(call)
    await api.store.runs.node(run["id"], ref)
    home = await api.store.runs.home(run["id"], ref)
    launches = await api.store.runs.launches(home, ref)
    if not launches:
        raise NotFound("This node run has not started; there is no log.")
    attempt = call.number("attempt", launches[-1][0], 0, 1_000_000)
    logs = [
        LaunchLog(
            log_path(api.settings.log_dir, home, ref, number, launch),
            JobLog(api.logs, home, ref, number, launch),
        )
        for number, launch in launches
        if number == attempt
    ]
    if not logs:
        raise NotFound(f"There is no attempt {attempt}.")
    following = call.flag("follow")
    if not following and not any([await each.exists() for each in logs]):
        raise NotFound("The log of this attempt is not on this server, or nothing was written yet.")

    async def live() -> bool:
        node = await api.store.runs.node(run["id"], ref)
        return node["attempt"] == attempt and node["status"] in _LIVE

    return LogStream(logs, live if following else None)


class LaunchLog:
    """The log of one launch, read from its beginning on as it grows, wherever it turns up."""

    def __init__(self, path: Path, objects: JobLog) -> None:
        self._path = path
        self._objects = objects
        self._parts = PartsReader(objects)
        self._sent = 0
        self.complete = False
        """Nothing further comes: all of an archived log was read."""

    async def exists(self) -> bool:
        return (
            self._path.exists()
            or await self._objects.archived() is not None
            or bool(await self._objects.parts())
        )

    async def more(self, *, final: bool) -> AsyncIterator[bytes]:
        """What has come since the last call; `final`: this is the last one. Raises Unavailable."""
        async for chunk in self._come(final=final):
            self._sent += len(chunk)
            yield chunk

    async def _come(self, *, final: bool) -> AsyncIterator[bytes]:
        if self._path.exists():
            start = self._sent
            while chunk := await asyncio.to_thread(_chunk, self._path, start):
                start += len(chunk)
                yield chunk
            return
        if await self._objects.archived() is None:
            async for chunk in self._parts.more(final=final):
                yield chunk
            if not (final or self._parts.superseded) or await self._objects.archived() is None:
                return
        async for chunk in self._objects.chunks(self._sent):
            yield chunk
        self.complete = True

    async def awaited(self) -> bool:
        """Whether it is a Job's log that is yet to be archived."""
        return not self.complete and not self._path.exists() and bool(await self._objects.parts())


class LogStream:
    """Sends logs one after the other; with `live` the last one as it grows, until `live` says no."""

    def __init__(self, logs: Sequence[LaunchLog], live: Callable[[], Awaitable[bool]] | None) -> None:
        self._logs = logs
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        pump = asyncio.create_task(self._pump(send))
        left = asyncio.create_task(client_left(receive))
        await asyncio.wait({pump, left}, return_when=asyncio.FIRST_COMPLETED)
        finished = pump.done()
        for task in (pump, left):
            task.cancel()
        await asyncio.gather(pump, left, return_exceptions=True)
        if finished and not pump.cancelled() and (error := pump.exception()) is not None:
            raise error
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, send: Send) -> None:
        for each in self._logs[:-1]:
            async for chunk in each.more(final=True):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        async for chunk in self._follow(self._logs[-1]):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _follow(self, log: LaunchLog) -> AsyncIterator[bytes]:
        ended: float | None = None
        while True:
            more = self._live is not None and await self._live()
            if self._live is not None and not more:
                ended = monotonic() if ended is None else ended
                more = monotonic() - ended < PATIENCE and await log.awaited()
            async for chunk in log.more(final=not more):
                yield chunk
            if not more or log.complete:
                return
            await asyncio.sleep(POLL)


def _chunk(path: Path, start: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(CHUNK)
    except FileNotFoundError:
        return b""
