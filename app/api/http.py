"""What a handler gets and what it gives back: `Call` and `Reply`.

Starlette's Request and Response would do the same at several times the cost; on the routes of triggers and
checkpoints that cost is most of what we spend, so bodies are read straight from `receive` and replies are
bytes that are ready to send.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.types import Message, Receive, Scope, Send

from app.core.json_values import decode_json
from app.core.pointers import suggest
from app.errors import InvalidInput, MalformedInput, Place

HEADERS = "headrace.headers"
"""Scope member: the request's headers as a dict, lower-case bytes; of repeated ones the last."""
ROUTE = "headrace.route"
"""Scope member: the path pattern that matched, for metrics."""

YES, NO = frozenset({"", "1", "true", "yes"}), frozenset({"0", "false", "no"})
"""What a flag in a query may be; one without a value is set."""
JSON_TYPE = (b"content-type", b"application/json")
Header = tuple[bytes, bytes]


class Call:
    """One request. `params` are the path's parameters, `principal` whoever was authenticated (None on public
    routes)."""

    __slots__ = ("_body", "_query", "_receive", "headers", "params", "principal", "scope", "workflow")

    def __init__(self, scope: Scope, receive: Receive, params: dict[str, str]) -> None:
        self.scope = scope
        self.headers: dict[bytes, bytes] = scope[HEADERS]
        self.params = params
        self.principal: Any = None
        self.workflow: str | None = params.get("workflow")
        """Which it is about, for the audit: of the path, or set once it is known."""
        self._receive = receive
        self._body: bytes | None = None
        self._query: dict[str, str] | None = None

    @property
    def receive(self) -> Receive:
        """For streams, which wait for the client's disconnect."""
        return self._receive

    def header(self, name: bytes) -> str | None:
        """One header as text, or None. `name` is lower case."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def query(self) -> Mapping[str, str]:
        """The query string's members; of repeated ones the last.

        Raises MalformedInput for bad percent-encoding.
        """
        if self._query is None:
            raw = self.scope.get("query_string", b"")
            try:
                self._query = dict(parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict"))
            except ValueError:
                raise MalformedInput("The query string is not valid.") from None
        return self._query

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number of the query between `low` and `high`. Raises InvalidInput."""
        text = self.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 16 and low <= int(text) <= high):
            raise InvalidInput(places=[Place(f"/{name}", f"a whole number from {low} to {high} is expected")])
        return int(text)

    def flag(self, name: str) -> bool:
        """A member of the query that is true, 1 or present without a value. Raises InvalidInput for what is no yes or no."""
        text = self.query.get(name, "false").lower()
        if text not in YES and text not in NO:
            raise InvalidInput(places=[Place(f"/{name}", "true or false is expected")])
        return text in YES

    def allow(self, names: Collection[str]) -> None:
        """Raises InvalidInput for a member of the query that is none of these.

        A misspelt ?dry_run would do the real thing, a misspelt filter show what was not asked for.
        """
        if not self.scope.get("query_string"):
            return
        strange = [name for name in self.query if name not in names]
        if strange:
            raise InvalidInput(
                places=[
                    Place(
                        f"/{name[:100]}",
                        f"this call has no '{name[:100]}' in its query{suggest(name, names)}",
                    )
                    for name in strange[:8]
                ]
            )

    async def body(self) -> bytes:
        """The whole body, read once; its size is bounded by the body limit of the edge. Raises TooLarge."""
        body = self._body
        if body is None:
            message = await self._receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                body = message.get("body", b"")
            else:
                body = await self._gather(message)
            self._body = body
        return body

    async def _gather(self, message: Message) -> bytes:
        parts: list[bytes] = []
        while message["type"] == "http.request":
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(parts)
            message = await self._receive()
        raise MalformedInput("The body ended early.")

    async def json(self) -> Any:
        """The body as JSON. Raises MalformedInput (400), InvalidInput (422, for NUL) or TooLarge (413)."""
        return decode_json(await self.body())

    async def object(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty object."""
        raw = await self.body()
        value = decode_json(raw) if raw else {}
        if not isinstance(value, dict):
            raise InvalidInput(places=[Place("", "an object is expected")])
        return value


class Reply:
    """A reply that is ready to send: an ASGI application that answers with these bytes."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes, headers: list[Header]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*self.headers, (b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def json_reply(value: Any, status: int = 200, *headers: Header) -> Reply:
    """A JSON reply."""
    return Reply(status, orjson.dumps(value), [JSON_TYPE, *headers])


def text_reply(text: str, status: int = 200, content_type: str = "text/plain; charset=utf-8") -> Reply:
    """A text reply."""
    return Reply(status, text.encode(), [(b"content-type", content_type.encode())])


def empty_reply(*headers: Header) -> Reply:
    """204: done, and nothing to say."""
    return Reply(204, b"", list(headers))


async def client_left(receive: Receive) -> None:
    """Returns when the client has closed the connection; for replies that go on and on."""
    while (await receive())["type"] != "http.disconnect":
        pass
