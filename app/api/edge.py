"""The middlewares every request goes through: `Edge` outside, `BodyLimit` inside.

Plain ASGI, with one wrapper around `send`: they are on the path of every trigger and checkpoint. `Edge` gives
the request its id, refuses foreign Host headers (DNS rebinding), adds the security headers, measures, and
turns whatever error comes up into a problem document. `BodyLimit` refuses bodies that are too large or
encoded before they are read.
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from urllib.parse import urlsplit

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.http import HEADERS, ROUTE, Header
from app.api.problems import internal_reply, problem_reply, refuse_body
from app.api.timings import Timings
from app.errors import Forbidden, HeadraceError, TooLarge, Unavailable, UnsupportedMedia

log = structlog.get_logger("headrace.api")

PROBES = frozenset({"/livez", "/readyz", "/metrics"})
"""Answered whatever the Host header says: probes and scrapers call pods by their address."""
LOOPBACK = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})
CSP = b"content-security-policy"
SECURITY: list[Header] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
API_ONLY: list[Header] = [
    *SECURITY,
    (CSP, b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
]
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def allowed_hosts(*urls: str, extra: str = "") -> frozenset[bytes] | None:
    """The Host names this server answers to, without ports; None when `extra` holds `*`: any.

    `urls` are URLs or bare hosts; `extra` is comma separated.
    """
    names = [part.strip() for part in extra.split(",") if part.strip()]
    if "*" in names:
        return None
    hosts = (urlsplit(url).hostname if "//" in url else url for url in [*urls, *names])
    return LOOPBACK | {_bracketed(host).lower().encode() for host in hosts if host}


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def host_name(header: bytes) -> bytes:
    """The name of a Host header, without its port, lower case."""
    name, separator, port = header.rpartition(b":")
    if separator and (port.isdigit() or not port) and not name.endswith(b":"):
        return name.lower()
    return header.lower()


class _Sender:
    """`send` that adds our headers to the start of the response and remembers its status."""

    __slots__ = ("id", "send", "status")

    def __init__(self, send: Send, request_id: bytes) -> None:
        self.send = send
        self.id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers: list[Header] = message["headers"]
            added = API_ONLY
            for name, _ in headers:
                if name == CSP:
                    added = SECURITY
            message["headers"] = [*headers, *added, (b"x-request-id", self.id)]
        await self.send(message)


class Edge:
    """The outermost middleware. `hosts` of None answers to any Host."""

    def __init__(self, app: ASGIApp, *, hosts: frozenset[bytes] | None, timings: Timings) -> None:
        self.app = app
        self.hosts = hosts
        self.timings = timings
        self._seed = secrets.token_hex(6).encode()
        self._count = itertools.count(1)
        self._welcome: set[bytes | None] = set()
        """Host headers found good before, as they were sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scope[HEADERS] = headers
        sender = _Sender(send, self._request_id(headers.get(b"x-request-id")))
        try:
            if headers.get(b"host") not in self._welcome:
                self._check_host(scope, headers)
            await self.app(scope, receive, sender)
        except HeadraceError as error:
            await self._tell(error, scope, receive, sender)
        except Exception:
            log.exception("unexpected error", request_id=sender.id.decode(), route=scope.get(ROUTE, "other"))
            if sender.status:
                raise
            await internal_reply()(scope, receive, sender)
        finally:
            took = time.perf_counter() - began
            self.timings.observe(scope["method"], scope.get(ROUTE, "other"), sender.status, took)

    def _request_id(self, given: bytes | None) -> bytes:
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        return b"%s-%x" % (self._seed, next(self._count))

    def _check_host(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        host = headers.get(b"host", b"")
        if self.hosts is None or host_name(host) in self.hosts:
            if len(self._welcome) < 64:
                self._welcome.add(host)
        elif scope["path"] not in PROBES:
            raise Forbidden("This server does not answer to that Host; HEADRACE_ALLOWED_HOSTS adds names.")

    async def _tell(self, error: HeadraceError, scope: Scope, receive: Receive, sender: _Sender) -> None:
        if sender.status:
            log.warning("error after the response began", request_id=sender.id.decode(), code=error.code)
            raise error
        if error.status >= 500:
            log.error("request failed", request_id=sender.id.decode(), code=error.code, detail=error.message)
        ours = error.status >= 500 and not isinstance(error, Unavailable)  # a fault, told to the log only
        await (internal_reply() if ours else problem_reply(error))(scope, receive, sender)


class BodyLimit:
    """Refuses encoded bodies (415) and those past the limit (413), counted on the chunks as they come.

    A Content-Length within the limit needs no counting: the server holds the client to it.
    """

    def __init__(self, app: ASGIApp, *, default: int, large: int, large_prefix: str) -> None:
        self.app = app
        self.default = default
        self.large = large
        self.large_prefix = large_prefix
        """PUT requests below this path may have `large` bytes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = scope[HEADERS]
        limit = self.default
        if scope["method"] == "PUT" and scope["path"].startswith(self.large_prefix):
            limit = self.large
        refusal = _refusal(headers, limit)
        if refusal is not None:
            await refuse_body(problem_reply(refusal), receive, send)
        elif b"content-length" in headers:
            await self.app(scope, receive, send)
        else:
            try:
                await self.app(scope, _counted(receive, limit), send)
            except _Exceeded as error:
                await refuse_body(problem_reply(error), receive, send)


class _Exceeded(TooLarge):
    """The body is too large."""


def _refusal(headers: dict[bytes, bytes], limit: int) -> HeadraceError | None:
    encoding = headers.get(b"content-encoding")
    if encoding and encoding.strip().lower() != b"identity":
        return UnsupportedMedia("The body must not be compressed (Content-Encoding).")
    length = headers.get(b"content-length")
    if length is not None and not (length.isdigit() and len(length) < 16 and int(length) <= limit):
        return _too_large(limit)
    return None


def _too_large(limit: int) -> _Exceeded:
    return _Exceeded(f"A body of at most {limit} bytes is accepted here.", limit=limit)


def _counted(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def count() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _too_large(limit)
        return message

    return count


def same_origin(headers: dict[bytes, bytes]) -> bool:
    """Whether a browser says the request comes from a page of this very host (scheme-independent, port
    included)."""
    origin = headers.get(b"origin")
    if origin is None:
        return False
    _, separator, authority = origin.partition(b"://")
    return bool(separator) and authority.lower() == headers.get(b"host", b"").lower()
