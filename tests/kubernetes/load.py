"""A steady load of webhooks on an installation in the cluster, and the account of what became of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

PAUSE = 0.25
"""Seconds between two webhooks."""
PATIENCE = 120.0
"""Seconds for which a webhook is sent again until it gets its 202, as its sender would."""
HOST = "headrace-api.headrace"
TERMINAL = {"succeeded", "failed", "cancelled"}


class Server:
    """The API of an installation, with a connection of its own for each call: its pods come and go."""

    def __init__(self, address: str, key: str) -> None:
        self._address = address
        self._headers = {"host": HOST, "authorization": f"Bearer {key}"}

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Raises httpx.HTTPError."""
        async with httpx.AsyncClient(timeout=15, trust_env=False) as client:
            return await client.request(
                method, f"http://{self._address}{path}", json=body, headers={**self._headers, **headers}
            )

    async def insisting(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Again until it is neither unreachable nor unavailable."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = await self.call(method, path, body, **headers)
                if answer.status_code < 500:
                    return answer
                said = answer.text
            except httpx.HTTPError as error:
                said = repr(error)
            assert time.monotonic() < deadline, f"{method} {path} has no answer: {said}"
            await asyncio.sleep(0.2)

    async def publish(self, document: dict[str, Any]) -> str:
        """The path of its webhook."""
        path = f"/api/v1/workflows/{document['name']}"
        published = await self.insisting("PUT", path, document)
        assert published.status_code in (200, 201), published.text
        hooks = (await self.insisting("GET", f"{path}/hooks")).json()["items"]
        return httpx.URL(hooks[0]["url"]).path

    async def run(self, run: str) -> dict[str, Any]:
        return (await self.insisting("GET", f"/api/v1/runs/{run}")).json()

    async def ended(self, run: str, seconds: float = 180) -> dict[str, Any]:
        """The run at its end."""
        deadline = time.monotonic() + seconds
        while (found := await self.run(run)).get("status") not in TERMINAL:
            assert time.monotonic() < deadline, f"the run has not ended: {found}"
            await asyncio.sleep(0.5)
        return found

    async def runs(self, workflow: str) -> list[dict[str, Any]]:
        """All runs of a workflow."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = (
                await self.insisting(
                    "GET", f"/api/v1/runs?workflow={workflow}&limit=200{cursor and f'&cursor={cursor}'}"
                )
            ).json()
            found += page["items"]
            if not page.get("next_cursor"):
                return found
            cursor = page["next_cursor"]


class Load:
    """Webhooks sent one after the other, each until it is accepted; what was accepted is in `accepted`."""

    def __init__(self, server: Server, hooks: Sequence[str]) -> None:
        self._server = server
        self._hooks = hooks
        """Taken in turn."""
        self.accepted: list[str] = []
        """The run of each webhook."""

    async def send(self, number: int) -> None:
        """The webhook of that number, which names itself, so that sending it again is no second one."""
        hook = self._hooks[number % len(self._hooks)]
        answer = await self._server.insisting(
            "POST", hook, {"number": number}, **{"idempotency-key": f"load-{number}"}
        )
        assert answer.status_code == 202, answer.text
        self.accepted.append(answer.json()["receipts"][0]["run"])

    @asynccontextmanager
    async def steady(self, count: int) -> AsyncGenerator[None]:
        """`count` webhooks, a few each second, while the block does what it does; ends when all were accepted."""

        async def sender() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(count):
                    group.create_task(self.send(number))
                    await asyncio.sleep(PAUSE)

        task = asyncio.create_task(sender())
        try:
            yield
            await task
        finally:
            task.cancel()
