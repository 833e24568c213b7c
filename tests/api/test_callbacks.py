"""Callbacks of services on the wire: who is heard, and what counts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from app.core.tokens import CALLBACK, TokenClaims, sign
from app.store.nodes import NodeCall
from app.store.store import Store

pytestmark = pytest.mark.usefixtures("published")
Begin = Callable[..., Awaitable[str]]
NEVER = (1 << 53) - 1


class Service:
    """A service that was called by the node `read`, and calls back without any key."""

    def __init__(self, client: httpx.AsyncClient, store: Store, run: str) -> None:
        self.client = client
        self.store = store
        self.run = run

    def token(self, attempt: int = 1, ref: str = "read", secret: bytes = b"") -> str:
        claims = TokenClaims(self.run, ref, attempt, "shop", 1, NEVER)
        return sign(secret or self.store.secret, claims, CALLBACK)

    async def post(self, body: Any, token: str | None = None) -> httpx.Response:
        return await self.client.post(f"/api/v1/callbacks/{token or self.token()}", json=body)

    async def inbox(self) -> int:
        return await self.store.batcher.call("LLEN", self.store.keys.inbox(self.run))


@pytest.fixture
async def service(anonymous: httpx.AsyncClient, store: Store, begin: Begin) -> Service:
    run = await begin()
    await store.nodes.start(NodeCall(run, "read", 1), "worker-1", 60_000, [])
    return Service(anonymous, store, run)


async def test_metadata_finishes_the_node_once_however_often_it_comes(service: Service):
    before = await service.inbox()
    answers = [await service.post({"metadata": {"n": 1}}) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.text for answer in answers} == {f'{{"run":"{service.run}","node":"read","attempt":1}}'}
    assert await service.inbox() == before + 1
    assert (await service.store.runs.node(service.run, "read"))["metadata"] == {"n": 1}


async def test_another_result_is_a_conflict(service: Service):
    assert (await service.post({"metadata": 1})).status_code == 200
    assert (await service.post({"metadata": 2})).status_code == 409


async def test_an_error_is_heard_once_and_its_repeat_is_answered_even_when_the_attempt_is_over(
    service: Service,
):
    before = await service.inbox()
    error = {"error": {"type": "no_feed", "message": "gone", "retryable": False}}
    assert (await service.post(error)).status_code == 200
    await service.store.batcher.call("HSET", service.store.keys.node(service.run, "read"), "s", "failed")
    assert (await service.post(error)).status_code == 200
    assert await service.inbox() == before + 1
    assert (await service.post({"metadata": 1})).status_code == 409


async def test_a_worker_that_takes_the_call_up_does_not_void_its_token(service: Service):
    await service.store.nodes.start(NodeCall(service.run, "read", 1), "worker-2", 60_000, [])
    assert (await service.post({"metadata": 1})).status_code == 200


async def test_an_attempt_that_is_over_is_a_conflict(service: Service):
    await service.store.batcher.call("HSET", service.store.keys.node(service.run, "read"), "a", 2)
    answer = await service.post({"metadata": 1})
    assert (answer.status_code, answer.json()["late"]) == (409, True)


@pytest.mark.parametrize("token", ["x", "hc_x.y", "hc_.", "hn_x.y"])
async def test_what_is_no_token_is_refused(service: Service, token: str):
    assert (await service.post({"metadata": 1}, token)).status_code == 401


async def test_a_forged_token_and_a_node_token_are_refused(
    service: Service, token_for: Callable[..., str], api: httpx.AsyncClient
):
    assert (await service.post({"metadata": 1}, service.token(secret=b"f" * 32))).status_code == 401
    assert (await service.post({"metadata": 1}, token_for(service.run, "read"))).status_code == 401


async def test_a_callback_token_does_not_open_the_node_protocol(service: Service):
    headers = {"authorization": f"Bearer {service.token()}"}
    url = f"/api/v1/runs/{service.run}/nodes/read/start"
    assert (await service.client.post(url, json={"instance": "x"}, headers=headers)).status_code == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422), ([], 422), ({"metadata": 1, "error": {"type": "x", "message": ""}}, 422), ({"error": {}}, 422),
        ({"metadata": 1, "more": 2}, 422), ({"metadata": "\0"}, 422), ({"metadata": "x" * 300_000}, 413),
        ({"metadata": None}, 200),
    ],
)  # fmt: skip
async def test_a_body_says_exactly_one_thing_and_is_bounded(service: Service, body: Any, status: int):
    assert (await service.post(body)).status_code == status


async def test_a_token_that_the_service_repeats_is_not_kept(service: Service):
    token = service.token()
    assert (await service.post({"metadata": {"token": token}})).status_code == 200
    assert (await service.store.runs.node(service.run, "read"))["metadata"] == {"token": "***"}
