"""The API as a patient client uses it: a lost answer, a dead server and a 503 are asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
import orjson

from loadtests.dev import Ready

PATIENCE = 120.0
"""Seconds for which one question is asked again."""


class ApiError(Exception):
    """An answer that asking again does not mend."""


Answer = TypeVar("Answer")


async def until(ask: Callable[[], Awaitable[Answer]], seconds: float, every: float = 0.05) -> Answer:
    """The first answer that is true, asked for again and again. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            answer = await ask()
            if answer:
                return answer
            await asyncio.sleep(every)


class Api:
    """JSON below /api/v1."""

    def __init__(self, ready: Ready, *, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._http = httpx.AsyncClient(
            base_url=f"{ready.url}/api/v1", headers=ready.headers, timeout=20.0, trust_env=False
        )

    async def get(self, path: str, **query: Any) -> Any:
        """Raises ApiError for 4xx, and when patience ends."""
        return orjson.loads((await self._asked("GET", path, params=query)).content)

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """A call that may be repeated: a PUT, or a POST with an idempotency key. Raises ApiError."""
        response = await self._asked(method, path, json=body, headers=headers)
        return orjson.loads(response.content) if response.content else None

    async def pages(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """All items of a list."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            more = {"cursor": cursor} if cursor else {}
            page = await self.get(path, limit=1000, **query, **more)
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items

    async def events(self, run: str) -> list[dict[str, Any]]:
        """Every transition of a run that has ended, in order."""
        text = (await self._asked("GET", f"/runs/{run}/events")).text
        frames = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
        return [event for event in map(orjson.loads, frames) if event]

    async def ended(self, run: str, seconds: float) -> dict[str, Any]:
        """Wait until a run has ended. Raises TimeoutError."""

        async def record() -> dict[str, Any]:
            found = await self.get(f"/runs/{run}")
            return found if found["status"] in ("succeeded", "failed", "cancelled") else {}

        return await until(record, seconds, 0.1)

    async def _asked(self, method: str, path: str, **more: Any) -> httpx.Response:
        loop = asyncio.get_running_loop()
        give_up, pause = loop.time() + self._patience, 0.1
        while True:
            try:
                response = await self._http.request(method, path, **more)
                if response.status_code < 400:
                    return response
                problem = f"{response.status_code} {response.text[:500]}"
                if response.status_code not in (429, 503):
                    raise ApiError(f"{method} {path}: {problem}")
            except httpx.TransportError as error:
                problem = type(error).__name__
            if loop.time() > give_up:
                raise ApiError(f"{method} {path}: {problem}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2.0)

    async def close(self) -> None:
        await self._http.aclose()
