"""Posts bodies to one address over connections that are kept: HTTP/1.1 as far as making Jobs needs it.

A general client takes as long for one such call as everything else that a worker does for a Job (processor time, P6).
Whatever goes wrong on a connection ends it and its call: making a Job may be tried again, since its name stands for its launch.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from time import monotonic
from typing import cast
from urllib.parse import SplitResult, urlsplit

import httptools

KEPT = 15.0
"""Seconds for which a connection that nobody needs is kept: what lies between may forget it without a word."""
MOST = 1 << 20
"""Bytes of the longest answer: the API server's are a few thousand."""


class Answer:
    """What came back, once it is whole."""

    __slots__ = ("content", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.status = status
        self.headers = headers
        """Found by their names in lower case."""
        self.content = content


class Line(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self.idle_since = 0.0
        """monotonic() of its last answer."""
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._content: list[bytes] = []
        self._size = 0

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        """Send a request; the answer, or ConnectionError where there is none to it."""
        self._waiting = asyncio.get_running_loop().create_future()
        assert self._transport is not None
        self._transport.write(request)
        return self._waiting

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # asyncio ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            if self._waiting is None:
                raise httptools.HttpParserError("an answer that nobody asked for")
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(ConnectionError("the connection broke off"))

    # httptools --------------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size <= MOST:
            self._content.append(body)
        else:
            self.abort()

    def on_message_complete(self) -> None:
        if self._waiting is None or self._size > MOST:
            self.abort()  # what comes behind an answer, and what is too long for one
            return
        waiting, self._waiting = self._waiting, None
        answer = Answer(self._parser.get_status_code(), self._headers, b"".join(self._content))
        goes_on = self._parser.should_keep_alive()
        self._begin()
        if not goes_on and self._transport is not None:
            self._transport.close()
        if not waiting.done():
            waiting.set_result(answer)


class Poster:
    """As many connections as there are calls at a time."""

    def __init__(self, url: str, tls: ssl.SSLContext | bool, server_name: str | None, timeout: float) -> None:
        """`tls` as for aiohttp; `timeout` is of one call, in seconds."""
        place = urlsplit(url)
        self._host = str(place.hostname)
        self._port = place.port or (443 if place.scheme == "https" else 80)
        self._tls = tls if isinstance(tls, ssl.SSLContext) else None
        self._server_name = (server_name or self._host) if self._tls is not None else None
        self._timeout = timeout
        self._head = _head(place)
        self._idle: list[Line] = []

    async def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Raises OSError (ConnectionError among them), TimeoutError."""
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = b"%b%bContent-Length: %d\r\n\r\n%b" % (
            self._head,
            fields.encode("latin-1"),
            len(body),
            body,
        )
        async with asyncio.timeout(self._timeout):
            line = await self._line()
            try:
                answer = await line.ask(request)
            except BaseException:  # its answer may come yet: it must not be taken for another's
                line.abort()
                raise
        if line.usable:
            line.idle_since = monotonic()
            self._idle.append(line)
        while self._idle and monotonic() - self._idle[0].idle_since > KEPT:
            self._idle.pop(0).abort()
        return answer

    async def _line(self) -> Line:
        while self._idle:
            line = self._idle.pop()
            if line.usable and monotonic() - line.idle_since < KEPT:
                return line
            line.abort()
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(
            Line, self._host, self._port, ssl=self._tls, server_hostname=self._server_name
        )
        return line

    def close(self) -> None:
        for line in self._idle:
            line.abort()
        self._idle.clear()


def _head(place: SplitResult) -> bytes:
    """The first lines of every request."""
    path = place.path + (f"?{place.query}" if place.query else "")
    return f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\n".encode("ascii")
