"""Errors as RFC 9457 problem documents.

The text of an exception that is not ours never leaves the process.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import orjson
from starlette.types import Receive, Send

from app.api.http import Header, Reply
from app.errors import HeadraceError, InputError, Unauthorized, Unavailable

PROBLEM_TYPE = (b"content-type", b"application/problem+json")
BASE = "https://headrace.dev/problems/"
LINGER_BYTES = 8 << 20
LINGER_SECONDS = 1.0


class MethodNotAllowed(HeadraceError):
    """The resource exists, but not with this method."""

    status = 405
    code = "method_not_allowed"


def document(error: HeadraceError) -> dict[str, Any]:
    """The problem document of an error: type, title, status, detail, code, errors and the error's own
    members."""
    title = (type(error).__doc__ or error.code).strip().splitlines()[0]
    places = error.places if isinstance(error, InputError) else []
    return {
        "type": BASE + error.code,
        "title": title,
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "errors": [{"pointer": place.pointer, "detail": place.detail} for place in places],
        **error.extra,
    }


def problem_reply(error: HeadraceError) -> Reply:
    """The reply that tells an error."""
    headers: list[Header] = [PROBLEM_TYPE]
    if isinstance(error, Unavailable):
        headers.append((b"retry-after", b"%d" % error.retry_after))
    elif isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b"Bearer"))
    elif isinstance(error, MethodNotAllowed):
        headers.append((b"allow", str(error.extra.pop("allow", "")).encode()))
    return Reply(error.status, orjson.dumps(document(error)), headers)


def internal_reply() -> Reply:
    """500, with nothing of its cause."""
    error = HeadraceError("An unexpected error; the server's log has its request id.")
    body = document(error) | {"title": HTTPStatus(500).phrase}
    return Reply(500, orjson.dumps(body), [PROBLEM_TYPE])


async def refuse_body(reply: Reply, receive: Receive, send: Send) -> None:
    """Answer a request whose body we do not read to its end.

    A connection that is closed at once, with bytes still coming, is reset, and the client may never see the
    answer; so the answer goes first, a bounded rest of the body is read and dropped, and then the connection
    ends.
    """
    headers = [*reply.headers, (b"connection", b"close"), (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body, "more_body": True})
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            dropped = 0
            while dropped < LINGER_BYTES:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    break
                dropped += len(message.get("body", b""))
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
