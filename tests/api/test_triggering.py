"""POST runs: accepted means durable, and the same key means the same run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from app.store.store import Store

pytestmark = pytest.mark.usefixtures("published")
PATH = "/api/v1/workflows/shop/runs"
GOOD = {"params": {"feed": "file:a.ndjson"}}


async def test_a_run_is_accepted_with_its_receipt_and_place(api: httpx.AsyncClient):
    answer = await api.post(PATH, json=GOOD)
    assert answer.status_code == 202
    body = answer.json()
    assert answer.headers["location"] == f"/api/v1/runs/{body['run']}"
    receipt = (await api.get(f"/api/v1/triggers/{body['receipt']}")).json()
    assert (receipt["state"], receipt["run"], receipt["workflow"]) == ("queued", body["run"], "shop")


async def test_a_repeat_with_the_same_key_gets_the_first_answer(api: httpx.AsyncClient):
    headers = {"idempotency-key": "order-7"}
    first, second = [(await api.post(PATH, json=GOOD, headers=headers)).json() for _ in range(2)]
    assert first == second


async def test_a_hundred_repeats_at_once_are_one_run(api: httpx.AsyncClient, store: Store):
    headers = {"idempotency-key": "order-8"}
    answers = await asyncio.gather(*(api.post(PATH, json=GOOD, headers=headers) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["run"] for answer in answers}) == 1
    assert await store.batcher.call("XLEN", store.keys.triggers) == 1


async def test_the_same_key_with_another_body_is_a_conflict(api: httpx.AsyncClient):
    headers = {"idempotency-key": "order-9"}
    await api.post(PATH, json=GOOD, headers=headers)
    answer = await api.post(PATH, json={"params": {"feed": "other"}}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")


async def test_idempotency_keys_of_two_api_keys_are_apart(
    api: httpx.AsyncClient, key_for: Callable[..., Awaitable[httpx.AsyncClient]]
):
    headers = {"idempotency-key": "order-10"}
    mine = await api.post(PATH, json=GOOD, headers=headers)
    theirs = await (await key_for("trigger")).post(PATH, json=GOOD, headers=headers)
    assert mine.json()["run"] != theirs.json()["run"]


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "tab\there"])
async def test_a_bad_idempotency_key_is_invalid(api: httpx.AsyncClient, key: str):
    assert (await api.post(PATH, json=GOOD, headers={"idempotency-key": key})).status_code == 422


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"params": {"feed": 7}}, "/params/feed"),
        ({"params": []}, "/params"),
        ({**GOOD, "priority": 9}, "/priority"),
        ({**GOOD, "priority": "1"}, "/priority"),
        ({**GOOD, "version": 0}, "/version"),
        ({**GOOD, "labels": {"a": 1}}, "/labels/a"),
        ({**GOOD, "labels": {"": "x"}}, "/labels/"),
        ({**GOOD, "labels": {"a" * 300: "x"}}, "/labels/" + "a" * 300),
        ({**GOOD, "wrong": 1}, "/wrong"),
        ([], ""),
    ],
)
async def test_what_is_wrong_is_told_with_its_place(api: httpx.AsyncClient, body: Any, pointer: str):
    answer = await api.post(PATH, json=body)
    assert answer.status_code == 422
    assert pointer in [place["pointer"] for place in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b'{"params": {"feed": NaN}}', 400), (b'{"params": {"feed": "\\u0000"}}', 422)],
)
async def test_bad_bodies_are_refused_and_nothing_is_queued(
    api: httpx.AsyncClient, store: Store, body: bytes, status: int
):
    assert (await api.post(PATH, content=body)).status_code == status
    assert await store.batcher.call("XLEN", store.keys.triggers) == 0


async def test_a_missing_param_is_told(api: httpx.AsyncClient):
    answer = await api.post(PATH)
    assert answer.status_code == 422
    assert "feed" in answer.text


async def test_an_older_version_can_be_run(api: httpx.AsyncClient, document: dict[str, Any]):
    changed = document | {"params": {"type": "object"}}
    assert (await api.put("/api/v1/workflows/shop", json=changed)).json()["version"] == 2
    assert (await api.post(PATH, json={})).status_code == 202
    assert (await api.post(PATH, json={"version": 1})).status_code == 422
    assert (await api.post(PATH, json={**GOOD, "version": 1})).status_code == 202
    assert (await api.post(PATH, json={**GOOD, "version": 3})).status_code == 404


async def test_an_unknown_workflow_takes_no_runs(api: httpx.AsyncClient):
    assert (await api.post("/api/v1/workflows/nobody/runs", json=GOOD)).status_code == 404


async def test_an_archived_workflow_takes_no_runs_until_it_is_published_again(
    api: httpx.AsyncClient, document: dict[str, Any]
):
    assert (await api.delete("/api/v1/workflows/shop")).status_code == 204
    assert (await api.post(PATH, json=GOOD)).status_code == 409
    assert (await api.put("/api/v1/workflows/shop", json=document)).json()["version"] == 1
    assert (await api.post(PATH, json=GOOD)).status_code == 202


async def test_receipts_can_be_listed_by_state(api: httpx.AsyncClient):
    async def listed(state: str) -> list[Any]:
        """A page looks at a bounded number of keys, which may all be others'."""
        items, cursor = list[Any](), ""
        while True:
            page = (await api.get("/api/v1/triggers", params={"state": state, "cursor": cursor})).json()
            items, cursor = [*items, *page["items"]], page["next_cursor"]
            if cursor is None:
                return items

    await api.post(PATH, json=GOOD)
    assert (len(await listed("queued")), len(await listed("dead"))) == (1, 0)
    assert (await api.get("/api/v1/triggers", params={"state": "odd"})).status_code == 422


async def test_triggers_are_counted(api: httpx.AsyncClient):
    for _ in range(2):
        await api.post(PATH, json=GOOD, headers={"idempotency-key": "counted"})
    text = (await api.get("/metrics")).text
    assert 'headrace_triggers_total{outcome="queued",source="api"} 1.0' in text
    assert 'headrace_triggers_total{outcome="duplicate",source="api"} 1.0' in text
    assert 'headrace_queue_depth{queue="triggers"} 1.0' in text


async def test_a_repeat_gets_the_first_answer_though_the_workflow_changed(
    api: httpx.AsyncClient, document: dict[str, Any]
):
    headers = {"idempotency-key": "order-11"}
    first = await api.post(PATH, json=GOOD, headers=headers)
    await api.put("/api/v1/workflows/shop", json=document | {"params": {"required": ["another"]}})
    assert (await api.post(PATH, json=GOOD)).status_code == 422
    assert (await api.post(PATH, json=GOOD, headers=headers)).json() == first.json()
    await api.delete("/api/v1/workflows/shop")
    assert (await api.post(PATH, json=GOOD, headers=headers)).json() == first.json()
    assert (await api.post(PATH, json={}, headers=headers)).json()["code"] == "idempotency_conflict"


async def test_a_page_of_receipts_holds_no_more_than_its_limit(api: httpx.AsyncClient):
    made = {(await api.post(PATH, json=GOOD)).json()["receipt"] for _ in range(5)}
    seen: list[str] = []
    query = {"limit": "2"}
    while True:
        page = (await api.get("/api/v1/triggers", params=query)).json()
        assert len(page["items"]) <= 2
        seen += [receipt["id"] for receipt in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert sorted(seen) == sorted(made)
