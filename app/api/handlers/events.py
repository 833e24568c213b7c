"""GET /runs/{run}/events: every transition as server-sent events, with resume by Last-Event-ID."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.context import Api
from app.api.handlers.runs import visible_run
from app.api.http import Call, client_left, empty_reply
from app.errors import InvalidInput, Place, Unavailable

KEEPALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that proxies keep the connection."""
_ID = re.compile(r"\d{1,15}(-\d{1,15}(\.\d{1,6})?)?")
_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]

Event = tuple[str, dict[str, Any]]


async def stream_events(call: Call, api: Api) -> ASGIApp:
    """The stream; 204 when the run has ended and nothing is left to tell, so that a browser stops
    reconnecting."""
    run = await visible_run(call, api)
    resumed = call.header(b"last-event-id") or call.query.get("after")
    if resumed is not None and not _ID.fullmatch(resumed):
        raise InvalidInput(places=[Place("/after", "the id of an event is expected")])
    after = resumed or "0"
    if resumed is not None and _ended(run) and not await api.store.events.read(run["id"], after, 1):
        return empty_reply()
    return EventStream(api.store.events.subscribe(run["id"], after))


def _ended(run: dict[str, Any]) -> bool:
    return run["status"] in {"succeeded", "failed", "cancelled"}


def frame(identifier: str, event: dict[str, Any]) -> bytes:
    """One event on the wire."""
    return b"id: %s\ndata: %s\n\n" % (identifier.encode(), orjson.dumps(event))


class EventStream:
    """Sends events until they end or the client leaves."""

    def __init__(self, events: AsyncIterator[Event]) -> None:
        self._events = cast("AsyncGenerator[Event]", events)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        leave = asyncio.create_task(client_left(receive))
        try:
            await self._pump(send, leave)
        except Unavailable:
            pass  # the client reconnects with the last id
        finally:
            leave.cancel()
            await asyncio.gather(leave, return_exceptions=True)
            await self._events.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, send: Send, leave: asyncio.Task[None]) -> None:
        upcoming = asyncio.ensure_future(anext(self._events))
        try:
            while True:
                first = asyncio.FIRST_COMPLETED
                done, _ = await asyncio.wait({upcoming, leave}, timeout=KEEPALIVE, return_when=first)
                if upcoming in done:
                    await send(_chunk(frame(*upcoming.result())))
                    upcoming = asyncio.ensure_future(anext(self._events))
                elif done:
                    return
                else:
                    await send(_chunk(b": still here\n\n"))
        except StopAsyncIteration:
            await send(_chunk(b"event: end\ndata: {}\n\n"))
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)


def _chunk(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}
