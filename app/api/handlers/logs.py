"""GET /runs/{run}/nodes/{node}/logs: what the launches of a node run wrote, from files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.context import Api
from app.api.handlers.runs import ref_of, visible_run
from app.api.http import Call, client_left
from app.errors import NotFound
from app.logfiles import log_path

CHUNK = 64 << 10
POLL = 0.5
"""Seconds between looks at a file that is followed."""
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
    paths = [
        log_path(api.settings.log_dir, home, ref, number, launch)
        for number, launch in launches
        if number == attempt
    ]
    if not paths:
        raise NotFound(f"There is no attempt {attempt}.")
    following = call.flag("follow")
    if not following and not any(path.exists() for path in paths):
        raise NotFound("The log of this attempt is not on this server.")

    async def live() -> bool:
        node = await api.store.runs.node(run["id"], ref)
        return node["attempt"] == attempt and node["status"] in _LIVE

    return LogStream(paths, live if following else None)


class LogStream:
    """Sends files one after the other; with `live` the last one as it grows, until `live` says no."""

    def __init__(self, paths: Sequence[Path], live: Callable[[], Awaitable[bool]] | None) -> None:
        self._paths = paths
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
        for path in self._paths[:-1]:
            async for chunk in self._read(path):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        async for chunk in self._follow(self._paths[-1]):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _read(self, path: Path, start: int = 0) -> AsyncIterator[bytes]:
        while chunk := await asyncio.to_thread(_chunk, path, start):
            start += len(chunk)
            yield chunk

    async def _follow(self, path: Path) -> AsyncIterator[bytes]:
        start = 0
        while True:
            more = self._live is not None and await self._live()
            async for chunk in self._read(path, start):
                start += len(chunk)
                yield chunk
            if not more:
                return
            await asyncio.sleep(POLL)


def _chunk(path: Path, start: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(CHUNK)
    except FileNotFoundError:
        return b""
