"""Webhooks: signatures (row 31), repeats (row 16), params from templates, dead receipts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from standardwebhooks import Webhook

from app.api.signatures import verified
from app.store.store import Store

BODY = orjson.dumps({"url": "file:feeds/a.ndjson"})
Hook = dict[str, Any]


@pytest.fixture
def hook(published: httpx.Response) -> Hook:
    """The hook that the document's trigger made, with its secret."""
    return published.json()["hooks"][0]


def signed(
    secret: str, body: bytes = BODY, *, identity: str = "msg_1", age: timedelta = timedelta()
) -> dict[str, str]:
    moment = datetime.now(UTC) - age
    signature = Webhook(secret).sign(identity, moment, body.decode())
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": signature,
    }


async def test_a_signed_webhook_starts_a_run(
    anonymous: httpx.AsyncClient, api: httpx.AsyncClient, hook: Hook
):
    answer = await anonymous.post(hook["url"], content=BODY, headers=signed(hook["secret"]))
    assert answer.status_code == 202
    receipt = answer.json()["receipts"][0]
    assert receipt["workflow"] == "shop"
    stored = (await api.get(f"/api/v1/triggers/{receipt['receipt']}")).json()
    assert (stored["state"], stored["source"]) == ("queued", "hook:arrived")


async def test_the_same_webhook_a_hundred_times_at_once_is_one_run(
    anonymous: httpx.AsyncClient, store: Store, hook: Hook
):
    headers = signed(hook["secret"])
    posts = (anonymous.post(hook["url"], content=BODY, headers=headers) for _ in range(100))
    answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {202}
    receipts = [answer.json()["receipts"][0] for answer in answers]
    assert len({receipt["receipt"] for receipt in receipts}) == 1
    assert len({receipt["run"] for receipt in receipts}) == 1
    assert await store.batcher.call("XLEN", store.keys.triggers) == 1


def _without(name: str) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda headers: {key: value for key, value in headers.items() if key != name}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda headers: headers | {"webhook-signature": "v1,AAAA"},
        lambda headers: headers | {"webhook-signature": "nonsense"},
        lambda headers: headers | {"webhook-signature": "v1,é"},
        lambda headers: headers | {"webhook-timestamp": "nan"},
        lambda headers: headers | {"webhook-id": "msg_2"},
        _without("webhook-signature"),
        _without("webhook-timestamp"),
        _without("webhook-id"),
    ],
)
async def test_a_bad_signature_enqueues_nothing(
    anonymous: httpx.AsyncClient, store: Store, hook: Hook, spoil: Callable[[dict[str, str]], dict[str, str]]
):
    headers = {
        name.encode(): value.encode("latin-1") for name, value in spoil(signed(hook["secret"])).items()
    }
    answer = await anonymous.post(hook["url"], content=BODY, headers=headers)
    assert answer.status_code == 401
    assert await store.batcher.call("XLEN", store.keys.triggers) == 0


@pytest.mark.parametrize("age", [timedelta(minutes=6), timedelta(minutes=-6)])
async def test_a_stale_or_future_timestamp_enqueues_nothing(
    anonymous: httpx.AsyncClient, store: Store, hook: Hook, age: timedelta
):
    answer = await anonymous.post(hook["url"], content=BODY, headers=signed(hook["secret"], age=age))
    assert answer.status_code == 401
    assert await store.batcher.call("XLEN", store.keys.triggers) == 0


async def test_a_changed_body_is_refused(anonymous: httpx.AsyncClient, hook: Hook):
    answer = await anonymous.post(hook["url"], content=BODY + b" ", headers=signed(hook["secret"]))
    assert answer.status_code == 401


async def test_an_unknown_hook_looks_like_a_bad_signature(anonymous: httpx.AsyncClient, hook: Hook):
    bad = signed("whsec_" + base64.b64encode(b"x" * 32).decode())
    wrong = await anonymous.post(hook["url"], content=BODY, headers=bad)
    unknown = await anonymous.post("/hooks/no-such-token", content=BODY, headers=bad)
    assert (wrong.status_code, wrong.json()) == (unknown.status_code, unknown.json())


async def test_malformed_json_with_a_good_signature_is_400(anonymous: httpx.AsyncClient, hook: Hook):
    answer = await anonymous.post(hook["url"], content=b"{", headers=signed(hook["secret"], b"{"))
    assert answer.status_code == 400


@pytest.mark.parametrize("body", [{"other": 1}, {"url": 7}, [], None])
async def test_params_that_do_not_fit_make_a_dead_receipt(
    anonymous: httpx.AsyncClient, api: httpx.AsyncClient, store: Store, hook: Hook, body: Any
):
    raw = orjson.dumps(body)
    answer = await anonymous.post(hook["url"], content=raw, headers=signed(hook["secret"], raw))
    assert answer.status_code == 202
    receipt = answer.json()["receipts"][0]
    assert receipt["run"] is None
    stored = (await api.get(f"/api/v1/triggers/{receipt['receipt']}")).json()
    assert stored["state"] == "dead"
    assert stored["reason"]


async def test_the_same_delivery_with_another_body_is_a_conflict(anonymous: httpx.AsyncClient, hook: Hook):
    other = orjson.dumps({"url": "other"})
    await anonymous.post(hook["url"], content=BODY, headers=signed(hook["secret"]))
    answer = await anonymous.post(hook["url"], content=other, headers=signed(hook["secret"], other))
    assert answer.status_code == 409


async def test_publishing_again_keeps_the_hook(api: httpx.AsyncClient, hook: Hook, document: dict[str, Any]):
    again = await api.put("/api/v1/workflows/shop", json=document | {"description": "new"})
    assert again.json()["hooks"] == []
    listed = (await api.get("/api/v1/workflows/shop/hooks")).json()["items"]
    assert [(each["name"], each["url"]) for each in listed] == [("arrived", hook["url"])]
    assert "secret" not in listed[0]


async def test_a_trigger_that_left_the_document_closes_its_hook(
    anonymous: httpx.AsyncClient, api: httpx.AsyncClient, hook: Hook, document: dict[str, Any]
):
    await api.put("/api/v1/workflows/shop", json=document | {"triggers": []})
    answer = await anonymous.post(hook["url"], content=BODY, headers=signed(hook["secret"]))
    assert answer.status_code == 401


async def test_an_archived_workflow_closes_its_hooks(
    anonymous: httpx.AsyncClient, api: httpx.AsyncClient, hook: Hook
):
    await api.delete("/api/v1/workflows/shop")
    answer = await anonymous.post(hook["url"], content=BODY, headers=signed(hook["secret"]))
    assert answer.status_code == 401


@pytest.mark.usefixtures("published")
async def test_a_hook_made_by_hand_takes_the_body_as_params(
    anonymous: httpx.AsyncClient, api: httpx.AsyncClient
):
    made = await api.post("/api/v1/workflows/shop/hooks", json={"name": "by-hand", "signature": "none"})
    assert made.status_code == 201
    answer = await anonymous.post(made.json()["url"], json={"feed": "file:x"})
    assert answer.json()["receipts"][0]["run"]
    assert (await api.post("/api/v1/workflows/shop/hooks", json={"name": "by-hand"})).status_code == 409


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("text", ["${{ params.feed }}", "${{ event.body. }}", "${{ event.body"])
async def test_a_template_that_cannot_work_is_told_with_its_place(api: httpx.AsyncClient, text: str):
    answer = await api.post("/api/v1/workflows/shop/hooks", json={"params": {"feed": text}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/params/feed"


@pytest.mark.usefixtures("published")
async def test_a_removed_hook_is_unknown(anonymous: httpx.AsyncClient, api: httpx.AsyncClient):
    made = (await api.post("/api/v1/workflows/shop/hooks", json={"name": "gone", "signature": "none"})).json()
    assert (await anonymous.post(made["url"], json={"feed": "x"})).status_code == 202
    assert (await api.delete("/api/v1/workflows/shop/hooks/gone")).status_code == 204
    assert (await anonymous.post(made["url"], json={"feed": "x"})).status_code == 401


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("kind", "delivery"),
    [("github", "x-github-delivery"), ("shopify", "x-shopify-webhook-id"), ("none", "idempotency-key")],
)
async def test_each_kind_of_sender_is_verified_and_deduplicated(
    anonymous: httpx.AsyncClient, api: httpx.AsyncClient, kind: str, delivery: str
):
    secret = "a-secret-of-the-sender"
    request = {"name": kind, "signature": kind, "secret": secret, "params": {"feed": "${{ event.body.url }}"}}
    made = (await api.post("/api/v1/workflows/shop/hooks", json=request)).json()
    raw = hmac.digest(secret.encode(), BODY, "sha256")
    headers = {
        delivery: "delivery-1",
        "x-hub-signature-256": "sha256=" + raw.hex(),
        "x-shopify-hmac-sha256": base64.b64encode(raw).decode(),
    }
    first, second = [
        (await anonymous.post(made["url"], content=BODY, headers=headers)).json() for _ in range(2)
    ]
    assert first == second
    assert first["receipts"][0]["run"]


@pytest.mark.parametrize("kind", ["github", "shopify", "unheard-of"])
def test_without_the_right_signature_no_kind_is_verified(kind: str):
    wrong = hashlib.sha256(b"x").hexdigest().encode()
    headers = {b"x-hub-signature-256": b"sha256=" + wrong, b"x-shopify-hmac-sha256": wrong}
    assert not verified(kind, "secret", BODY, headers)
    assert not verified(kind, "secret", BODY, {})


@pytest.mark.usefixtures("published")
async def test_templates_never_see_the_signature(
    anonymous: httpx.AsyncClient, api: httpx.AsyncClient, store: Store
):
    made = (await api.post("/api/v1/workflows/shop/hooks", json={"name": "open", "signature": "none"})).json()
    headers = {"authorization": "Bearer stolen", "cookie": "a=b", "x-plain": "seen"}
    await anonymous.post(f"{made['url']}?q=1", json={"feed": "x"}, headers=headers)
    entry = (await store.stream(store.keys.triggers, "test").read(1, 1000))[0].fields[b"d"]
    assert b"stolen" not in entry
    event = orjson.loads(entry)["ev"]
    assert event["headers"]["x-plain"] == "seen"
    assert event["query"] == {"q": "1"}


@pytest.mark.usefixtures("published")
async def test_a_secret_that_could_never_verify_anything_is_refused(api: httpx.AsyncClient):
    request = {"signature": "standard", "secret": "this is not base64 !"}
    answer = await api.post("/api/v1/workflows/shop/hooks", json=request)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/secret")
