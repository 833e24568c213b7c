"""Senders of webhooks: signed, paced, repeated with the same id until they are accepted, as Standard Webhooks asks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
from standardwebhooks import Webhook

from loadtests.history import History

CONNECTIONS = 32
TIMEOUT = 15.0
"""Seconds for one answer; the API's own patience with Redis is shorter."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


@dataclass(slots=True, frozen=True)
class Delivery:
    """One webhook: its id and body, and when each of its copies is sent (seconds from the start)."""

    id: str
    body: dict[str, Any]
    copies: tuple[float, ...]


@dataclass(slots=True)
class Answers:
    """What came back for the webhooks of one sender."""

    accepted: dict[str, list[tuple[str, str | None]]] = field(
        default_factory=dict[str, list[tuple[str, str | None]]]
    )
    """Webhook id -> (receipt, run) of every 202."""
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """Webhook id -> an answer that no sender should get."""
    retries: int = 0


def plan(count: int, rate: float, seed: int, bodies: Sequence[dict[str, Any]], prefix: str) -> list[Delivery]:
    """`count` deliveries from a seed, `rate` a second; about a quarter is sent twice or more, one of them 20 times at once.

    Each body is one of `bodies` and the delivery's number.
    """
    draw = random.Random(seed)
    storm = draw.randrange(count)
    deliveries: list[Delivery] = []
    at = 0.0
    for number in range(count):
        at += draw.expovariate(rate)
        chance = draw.random()
        copies = [at]
        if number == storm:
            copies += [at] * 19
        elif chance < 0.10:
            copies += [at] * draw.randint(1, 3)
        elif chance < 0.25:
            copies.append(at + draw.uniform(0.1, 15))
        body = {**draw.choice(list(bodies)), "order": number}
        deliveries.append(Delivery(f"{prefix}-{number:05d}", body, tuple(copies)))
    return deliveries


class Sender:
    """Sends deliveries to one hook. `deadline` bounds how long one copy is tried (seconds)."""

    def __init__(self, url: str, secret: str, history: History, *, deadline: float = 900.0) -> None:
        self._url = url
        self._webhook = Webhook(secret)
        self._history = history
        self._deadline = deadline
        self._http = httpx.AsyncClient(
            timeout=TIMEOUT, trust_env=False, limits=httpx.Limits(max_connections=CONNECTIONS)
        )
        self._gate = asyncio.Semaphore(CONNECTIONS)
        self.answers = Answers()
        self.left = 0
        """Copies that have no answer yet."""

    async def send_all(self, deliveries: Sequence[Delivery]) -> None:
        """Send every copy at its time; returns when each was accepted, or refused, or given up."""
        self.left = sum(len(delivery.copies) for delivery in deliveries)
        async with asyncio.TaskGroup() as group:
            for delivery in deliveries:
                for copy, at in enumerate(delivery.copies):
                    group.create_task(self._send(delivery, copy, at))

    async def _send(self, delivery: Delivery, copy: int, at: float) -> None:
        await asyncio.sleep(at)
        loop = asyncio.get_running_loop()
        give_up, pause = loop.time() + self._deadline, FIRST_PAUSE
        while not await self.attempt(delivery, copy):
            if loop.time() > give_up:
                self.answers.refused.setdefault(delivery.id, f"not accepted within {self._deadline:g} s")
                break
            self.answers.retries += 1
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        self.left -= 1

    async def attempt(self, delivery: Delivery, copy: int = 0) -> bool:
        """One request. True when it has its final answer."""
        content = orjson.dumps(delivery.body)
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(delivery.id, now, content.decode()),
        }
        async with self._gate:
            number = self._history.invoke("webhook", id=delivery.id, copy=copy)
            try:
                response = await self._http.post(self._url, content=content, headers=headers)
            except httpx.ConnectError as error:
                self._history.end(number, "webhook", "fail", id=delivery.id, error=type(error).__name__)
                return False
            except httpx.TransportError as error:
                self._history.end(number, "webhook", "unknown", id=delivery.id, error=type(error).__name__)
                return False
        return self._judge(delivery, number, response)

    def _judge(self, delivery: Delivery, number: int, response: httpx.Response) -> bool:
        if response.status_code == 202:
            receipt = response.json()["receipts"][0]
            known = self.answers.accepted.setdefault(delivery.id, [])
            known.append((receipt["receipt"], receipt["run"]))
            self._history.end(
                number, "webhook", "ok", id=delivery.id, receipt=receipt["receipt"], run=receipt["run"]
            )
            return True
        lost = response.status_code == 503  # the store may have done it before its answer was lost
        self._history.end(
            number, "webhook", "unknown" if lost else "fail", id=delivery.id, status=response.status_code
        )
        if not lost:
            self.answers.refused[delivery.id] = f"answered {response.status_code}: {response.text[:200]}"
        return not lost

    async def close(self) -> None:
        await self._http.aclose()
