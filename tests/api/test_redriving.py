"""A dead trigger is redriven once what killed it was mended: the same receipt, a run at last (B1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest

from app.store.store import Store
from app.store.triggers import read_trigger

KeyFor = Callable[..., Awaitable[httpx.AsyncClient]]
PATH = "/api/v1/workflows/shop"


@pytest.fixture
async def dead(api: httpx.AsyncClient, anonymous: httpx.AsyncClient, published: httpx.Response) -> str:
    """The receipt of a webhook that brought no feed."""
    hook = await api.post(
        f"{PATH}/hooks",
        json={"name": "mine", "signature": "none", "params": {"feed": "${{ event.body.url }}"}},
    )
    url = httpx.URL(hook.json()["url"]).path
    answer = await anonymous.post(url, json={"link": "file:b.ndjson"})
    receipt: str = answer.json()["receipts"][0]["receipt"]
    assert (await api.get(f"/api/v1/triggers/{receipt}")).json()["state"] == "dead"
    return receipt


async def mend(api: httpx.AsyncClient, document: dict[str, Any]) -> None:
    """A version that needs no feed, and a hook that reads what was sent."""
    (await api.put(PATH, json=document | {"params": {"type": "object"}})).raise_for_status()
    (await api.delete(f"{PATH}/hooks/mine")).raise_for_status()
    params = {"feed": "${{ event.body.link }}"}
    hook = {"name": "mine", "signature": "none", "params": params}
    (await api.post(f"{PATH}/hooks", json=hook)).raise_for_status()


async def test_it_becomes_a_run_of_the_mended_version(
    api: httpx.AsyncClient, store: Store, document: dict[str, Any], dead: str
):
    await mend(api, document)
    answer = await api.post(f"/api/v1/triggers/{dead}/redrive")
    assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (202, dead, "queued")
    assert answer.headers["location"] == f"/api/v1/runs/{answer.json()['run']}"
    (entry,) = await store.stream(store.keys.triggers, "test").read(1, 1000)
    await store.triggers.start_run(read_trigger(entry.id, entry.fields), 2)
    run = (await api.get(answer.headers["location"])).json()
    assert (run["version"], run["params"]) == (2, {"feed": "file:b.ndjson"})
    receipt = (await api.get(f"/api/v1/triggers/{dead}")).json()
    assert (receipt["state"], receipt["reason"], receipt["run"]) == ("started", None, run["id"])


@pytest.mark.usefixtures("published")
async def test_what_would_be_dead_again_stays_as_it_is(api: httpx.AsyncClient, dead: str):
    answer = await api.post(f"/api/v1/triggers/{dead}/redrive")
    assert answer.status_code == 422
    assert "event.body.url does not exist" in answer.json()["detail"]
    assert (await api.get(f"/api/v1/triggers/{dead}")).json()["state"] == "dead"


async def test_only_what_is_dead_is_redriven_and_only_once(
    api: httpx.AsyncClient, store: Store, document: dict[str, Any], dead: str
):
    await mend(api, document)
    letter = await store.dead_letters.get(dead)
    assert (await api.post(f"/api/v1/triggers/{dead}/redrive")).status_code == 202
    again = await api.post(f"/api/v1/triggers/{dead}/redrive")
    assert (again.status_code, again.json()["state"]) == (409, "queued")
    with pytest.raises(Exception, match="Only a dead trigger"):
        await store.dead_letters.redrive(letter, 2, {})
    assert await store.batcher.call("XLEN", store.keys.triggers) == 1


async def test_a_buried_one_leaves_the_dead_letters(api: httpx.AsyncClient, store: Store, dead: str):
    accepted = (await api.post(f"{PATH}/runs", json={"params": {"feed": "file:c"}})).json()
    (entry,) = await store.stream(store.keys.triggers, "test").read(1, 1000)
    await store.triggers.bury(entry.id, accepted["receipt"], entry.fields[b"d"], "5 deliveries")
    answer = await api.post(f"/api/v1/triggers/{accepted['receipt']}/redrive", json={"version": 1})
    assert (answer.status_code, answer.json()["run"]) == (202, accepted["run"])
    assert await store.batcher.call("XLEN", store.keys.dead) == 0


async def test_a_damaged_one_must_be_sent_again(api: httpx.AsyncClient, store: Store, dead: str):
    await store.batcher.call("HSET", store.keys.receipt(dead), "d", b"{")
    assert (await api.post(f"/api/v1/triggers/{dead}/redrive")).status_code == 409


@pytest.mark.parametrize("body", [{"version": 0}, {"version": "1"}, {"versoin": 1}])
async def test_a_bad_body_changes_nothing(api: httpx.AsyncClient, dead: str, body: dict[str, Any]):
    answer = await api.post(f"/api/v1/triggers/{dead}/redrive", content=orjson.dumps(body))
    assert answer.status_code == 422
    assert (await api.post(f"/api/v1/triggers/{dead}/redrive", json={"version": 9})).status_code == 404


async def test_it_needs_the_scope_operate_and_the_prefix(key_for: KeyFor, dead: str):
    for key in (await key_for("read", "trigger"), await key_for("operate", prefix="other-")):
        assert (await key.post(f"/api/v1/triggers/{dead}/redrive")).status_code == 403


@pytest.mark.parametrize("started", [False, True])
async def test_a_repeat_by_the_sender_gets_the_receipt_and_the_run_that_it_became(
    api: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    store: Store,
    document: dict[str, Any],
    published: Any,
    started: bool,
):
    hook = {"name": "mine", "signature": "none", "params": {"feed": "${{ event.body.url }}"}}
    url = httpx.URL((await api.post(f"{PATH}/hooks", json=hook)).json()["url"]).path
    event = {"specversion": "1.0", "id": "7", "source": "/here", "type": "redriven"}
    listens = {"triggers": [{"event": {"name": "e", "type": "redriven"}}]}
    (await api.put(PATH, json=document | listens)).raise_for_status()

    async def sent() -> list[dict[str, Any]]:
        delivery = await anonymous.post(
            url, json={"link": "f"}, headers={"webhook-id": "delivery-1", "idempotency-key": "d1"}
        )
        fired = await api.post(
            "/api/v1/events", json=event, headers={"content-type": "application/cloudevents+json"}
        )
        return [*delivery.json()["receipts"], *fired.json()["receipts"]]

    first = await sent()
    assert [each["run"] for each in first] == [None, None]
    assert (await sent())[0] == first[0]
    free = document | {"params": {"type": "object"}} | listens
    (await api.put(PATH, json=free)).raise_for_status()
    (await api.delete(f"{PATH}/hooks/mine")).raise_for_status()
    mended = (await api.post(f"{PATH}/hooks", json={**hook, "params": {}})).json()["url"]
    runs = [(await api.post(f"/api/v1/triggers/{each['receipt']}/redrive")).json()["run"] for each in first]
    url = httpx.URL(mended).path
    if started:
        for entry in await store.stream(store.keys.triggers, "test").read(2, 1000):
            await store.triggers.start_run(read_trigger(entry.id, entry.fields), 2)
    again = await sent()
    assert [(each["receipt"], each["run"]) for each in again] == [
        (each["receipt"], run) for each, run in zip(first, runs, strict=True)
    ]
