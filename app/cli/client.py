"""The HTTP client of every command: one server, one key, problems turned back into our errors."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote

import httpx

from app import errors
from app.errors import HeadraceError, InputError, Place, Unavailable, UsageError
from app.settings import ClientSettings

API = "/api/v1"
DEV_READY = Path(".headrace/ready.json")
"""Where a `headrace dev` of this directory says how to reach it."""


@dataclass(frozen=True, slots=True)
class Target:
    """The server that commands talk to, and where we know it from."""

    url: str
    api_key: str
    source: str


def find_target(ready: Path = DEV_READY) -> Target:
    """HEADRACE_URL and HEADRACE_API_KEY, else the dev that serves this directory. Raises UsageError."""
    settings = ClientSettings()
    key = settings.api_key.get_secret_value()
    if settings.url:
        return Target(settings.url.rstrip("/"), key, "HEADRACE_URL")
    try:
        found = json.loads(ready.read_text("utf-8"))
        return Target(str(found["url"]).rstrip("/"), key or str(found["api_key"]), str(ready))
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            "no server: set HEADRACE_URL and HEADRACE_API_KEY, or start `headrace dev` in this directory"
        ) from None


def _classes() -> dict[str, type[HeadraceError]]:
    known: dict[str, type[HeadraceError]] = {}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, HeadraceError):
            known[kind.code] = kind  # a subclass comes later than the one whose code it shares
    return known


_BY_CODE = _classes()


def error_of(response: httpx.Response) -> HeadraceError:
    """Our error for a response that is none of success, whether or not it carries a problem document."""
    try:
        body = response.json()
    except ValueError:
        body = None
    problem = cast("dict[str, Any]", body if isinstance(body, dict) else {})
    message = str(
        problem.get("detail") or problem.get("title") or f"the server answered {response.status_code}"
    )
    kind = _BY_CODE.get(
        str(problem.get("code")), InputError if response.status_code in (400, 422) else HeadraceError
    )
    error = kind(message)
    error.extra = {"status": response.status_code, "code": problem.get("code")}
    if isinstance(error, InputError):
        places = cast("list[dict[str, Any]]", problem.get("errors") or [])
        error.places = [Place(str(p.get("pointer", "")), str(p.get("detail", ""))) for p in places]
    if isinstance(error, Unavailable):
        after = response.headers.get("retry-after", "1")
        error.retry_after = int(after) if after.isdigit() else 1
    return error


class Client:
    """Calls below /api/v1. Reads, and writes that are idempotent, are tried again for `patience` seconds."""

    def __init__(
        self, target: Target, *, patience: float = 10.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.target = target
        self.patience = patience
        headers = {"accept": "application/json"}
        if target.api_key:
            headers["authorization"] = f"Bearer {target.api_key}"
        self._http = httpx.Client(base_url=target.url, headers=headers, timeout=30.0, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: object) -> Any:
        """The JSON of a GET; parameters that are None are left out."""
        return self.send("GET", path, query=query).json()

    def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        again: bool | None = None,
    ) -> httpx.Response:
        """One call; raises our errors. `again`: whether it may be repeated (GET, PUT, DELETE by default)."""
        repeatable = method in ("GET", "PUT", "DELETE") if again is None else again
        deadline = time.monotonic() + (self.patience if repeatable else 0)
        pause = 0.1
        while True:
            try:
                return self._once(method, path, body, query, headers)
            except Unavailable as error:
                wait = max(pause, error.retry_after if error.extra else 0)
                if time.monotonic() + wait >= deadline:
                    raise
            time.sleep(wait)
            pause = min(pause * 2, 2.0)

    def _once(
        self,
        method: str,
        path: str,
        body: object,
        query: Mapping[str, object] | None,
        headers: Mapping[str, str] | None,
    ) -> httpx.Response:
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        extra = {"content-type": "application/json"} if content is not None else {}
        try:
            response = self._http.request(
                method,
                API + path,
                content=content,
                params=_query(query),
                headers={**extra, **(headers or {})},
            )
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if response.is_success:
            return response
        raise error_of(response)

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        silence: float | None = None,
    ) -> Generator[httpx.Response]:
        """A response that is read as it comes; `silence` seconds without a byte end it as Unavailable."""
        timeout = httpx.Timeout(30.0, read=silence)
        try:
            with self._http.stream(
                "GET", API + path, params=_query(query), headers=dict(headers or {}), timeout=timeout
            ) as response:
                if not response.is_success:
                    response.read()
                    raise error_of(response)
                yield response
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.HTTPError) -> HeadraceError:
        if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
            return UsageError(  # the error's own text may hold the key
                f"HEADRACE_URL must be http://HOST:PORT or https://HOST, and HEADRACE_API_KEY one line of visible characters; "
                f"the URL is {self.target.url}"
            )
        return Unavailable(f"{self.target.url} (from {self.target.source}) does not answer")

    def pages(self, path: str, limit: int, *, size: int = 100, **query: object) -> list[dict[str, Any]]:
        """The first `limit` items of a list, over as many pages as it takes."""
        items: list[dict[str, Any]] = []
        cursor: object = None
        while True:
            page = self.get(path, **query, limit=min(limit - len(items), size), cursor=cursor)
            items += page.get("items", [])
            cursor = page.get("next_cursor")
            if not cursor or len(items) >= limit:
                return items[:limit]


def _query(query: Mapping[str, object] | None) -> dict[str, str]:
    return {name: _flat(value) for name, value in (query or {}).items() if value is not None}


def _flat(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def segment(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")


def connect() -> Client:
    """The client of the server that the environment or this directory names."""
    return Client(find_target())
