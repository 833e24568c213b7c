"""POST /events: one receipt for each workflow that an event concerns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from app.core.cloudevents import BATCH, STRUCTURED
from app.intake import AT_ONCE, Listeners
from app.store.store import Store
from app.store.triggers import Accepted, Trigger, Triggers

PRICE = {"name": "price", "type": "com.example.price.*", "when": "event.data.percent > 10",
         "params": {"feed": "${{ event.data.feed }}"}}  # fmt: skip
DATA = {"percent": 12, "feed": "f1"}


def event(**more: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "1",
        "source": "/shop",
        "type": "com.example.price.drop",
        "data": DATA,
        **more,
    }


async def publish(api: httpx.AsyncClient, name: str, *triggers: dict[str, Any], **more: Any) -> None:
    (await api.put("/api/v1/node-types/step", json={"image": "busybox:1"})).raise_for_status()
    document = {
        "name": name,
        "nodes": {"a": {"type": "step"}},
        "triggers": [{"event": each} for each in triggers],
    }
    (await api.put(f"/api/v1/workflows/{name}", json=document | more)).raise_for_status()


async def send(api: httpx.AsyncClient, *events: dict[str, Any]) -> dict[str, Any]:
    content_type, body = (BATCH, list(events)) if len(events) != 1 else (STRUCTURED, events[0])
    answer = await api.post("/api/v1/events", json=body, headers={"content-type": content_type})
    assert answer.status_code == 202, answer.text
    return answer.json()


async def test_an_event_fires_every_workflow_whose_pattern_and_condition_fit(api: httpx.AsyncClient):
    await publish(api, "cheap", PRICE)
    await publish(api, "all", {"name": "any", "type": "*"})
    await publish(api, "stock", {"name": "stock", "type": "com.example.stock"})
    await publish(api, "steep", {**PRICE, "when": "event.data.percent > 50"})
    answer = await send(api, event())
    assert [(each["workflow"], each["state"]) for each in answer["receipts"]] == [
        ("all", "queued"),
        ("cheap", "queued"),
    ]
    assert answer["filtered"] == [{"workflow": "steep", "trigger": "price", "event": "1"}]
    receipt = (await api.get(f"/api/v1/triggers/{answer['receipts'][1]['receipt']}")).json()
    assert (receipt["source"], receipt["run"]) == ("event:price", answer["receipts"][1]["run"])


async def test_an_event_that_nobody_waits_for_is_accepted_without_receipts(api: httpx.AsyncClient):
    assert await send(api, event()) == {"receipts": [], "filtered": []}


async def test_the_same_event_again_gets_the_first_receipt(api: httpx.AsyncClient):
    await publish(api, "cheap", PRICE)
    (first,) = (await send(api, event()))["receipts"]
    (again,) = (await send(api, event(data={**DATA, "percent": 99})))["receipts"]
    assert again == {**first, "state": "duplicate"}
    (other,) = (await send(api, event(source="/other")))["receipts"]
    assert other["receipt"] != first["receipt"]


async def test_a_batch_gives_the_receipts_of_all_its_events(api: httpx.AsyncClient):
    await publish(api, "cheap", PRICE)
    answer = await send(api, event(id="1"), event(id="2"), event(id="1"))
    assert [(each["event"], each["state"]) for each in answer["receipts"]] == [
        ("1", "queued"), ("2", "queued"), ("1", "duplicate"),
    ]  # fmt: skip


async def test_a_binary_event_has_its_attributes_in_headers(api: httpx.AsyncClient, store: Store):
    await publish(api, "cheap", PRICE)
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "b",
        "ce-source": "/shop",
        "ce-type": "com.example.price.rise",
    }
    answer = await api.post("/api/v1/events", json=DATA, headers=headers)
    assert answer.status_code == 202
    assert len(answer.json()["receipts"]) == 1
    assert await store.batcher.call("XLEN", store.keys.triggers) == 1


async def test_without_a_template_the_data_are_the_params(api: httpx.AsyncClient):
    await publish(api, "all", {"name": "any", "type": "*"}, params={"type": "object", "required": ["feed"]})
    assert (await send(api, event()))["receipts"][0]["state"] == "queued"


@pytest.mark.parametrize(
    ("data", "reason"),
    [({"percent": 11}, "event.data.feed does not exist"), ({"feed": "x"}, "when: event.data.percent")],
)
async def test_an_event_that_does_not_fit_makes_a_dead_receipt(
    api: httpx.AsyncClient, data: dict[str, Any], reason: str
):
    await publish(api, "cheap", PRICE)
    (taken,) = (await send(api, event(data=data)))["receipts"]
    assert (taken["state"], taken["run"]) == ("dead", None)
    receipt = (await api.get(f"/api/v1/triggers/{taken['receipt']}")).json()
    assert reason in receipt["reason"]


async def test_of_two_triggers_of_a_workflow_the_first_that_wants_it_fires(api: httpx.AsyncClient):
    never = {"name": "never", "type": "com.*", "when": "false"}
    await publish(api, "cheap", never, PRICE, {"name": "any", "type": "*"})
    answer = await send(api, event())
    assert [each["trigger"] for each in answer["receipts"]] == ["price"]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (STRUCTURED, b"{", 400),
        (STRUCTURED, b'{"specversion": "1.0"}', 422),
        ("application/json", b"{}", 422),
        ("application/cloudevents+protobuf", b"", 415),
    ],
)
async def test_what_is_no_event_is_refused(
    api: httpx.AsyncClient, content_type: str, body: bytes, status: int
):
    answer = await api.post("/api/v1/events", content=body, headers={"content-type": content_type})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_large_event_is_in_memory_for_a_few_workflows_at_a_time(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
):
    for number in range(AT_ONCE + 9):
        await publish(api, f"w{number}", {"name": "any", "type": "*"})
    accept, inside, most = Triggers.accept, 0, 0

    async def counted(self: Triggers, trigger: Trigger) -> Accepted:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            return await accept(self, trigger)
        finally:
            inside -= 1

    monkeypatch.setattr(Triggers, "accept", counted)
    assert len((await send(api, event()))["receipts"]) == AT_ONCE + 9
    assert most == AT_ONCE


async def test_events_that_would_fire_too_much_at_once_are_refused_before_anything_is_accepted(
    api: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
):
    for number in range(AT_ONCE):
        await publish(api, f"w{number}", {"name": "any", "type": "*"})
    monkeypatch.setattr("app.intake.MOST_BYTES", 100_000)
    batch = [event(id="1"), event(id="2", data={"long": "x" * 5_000})]
    answer = await api.post("/api/v1/events", json=batch, headers={"content-type": BATCH})
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert answer.json()["errors"][0]["pointer"] == "/1"
    assert await store.batcher.call("XLEN", store.keys.triggers) == 0


async def test_only_the_current_version_listens(api: httpx.AsyncClient):
    await publish(api, "cheap", PRICE)
    await publish(api, "cheap", {"name": "stock", "type": "com.example.stock"})
    assert (await send(api, event()))["receipts"] == []
    (await api.delete("/api/v1/workflows/cheap")).raise_for_status()
    assert (await send(api, event(type="com.example.stock")))["receipts"] == []


async def test_a_key_fires_only_the_workflows_below_its_prefix(
    api: httpx.AsyncClient, key_for: Callable[..., Awaitable[httpx.AsyncClient]]
):
    await publish(api, "fjord-prices", {"name": "any", "type": "*"})
    await publish(api, "other-prices", {"name": "any", "type": "*"})
    sender = await key_for("trigger", prefix="fjord")
    assert [each["workflow"] for each in (await send(sender, event()))["receipts"]] == ["fjord-prices"]
    reader = await key_for("read")
    assert (await reader.post("/api/v1/events", json=event())).status_code == 403


async def test_matching_asks_the_store_for_nothing_while_what_is_known_is_fresh(
    api: httpx.AsyncClient, store: Store
):
    for number in range(20):
        await publish(api, f"w{number}", {"name": "e", "type": f"com.example.{number}.*"})
    listeners = Listeners(store.workflows)
    await listeners.matching("com.example.3.x")
    before = store.batcher.writes
    assert [await listeners.matching(f"com.example.{number}.x") for number in range(20)] == [
        [f"w{number}"] for number in range(20)
    ]
    assert store.batcher.writes == before


async def test_a_publication_elsewhere_is_seen_when_what_is_known_is_not_fresh_any_more(
    api: httpx.AsyncClient, store: Store
):
    listeners = Listeners(store.workflows)
    assert await listeners.matching("x") == []
    await publish(api, "late", {"name": "e", "type": "x"})
    listeners.forget()
    assert await listeners.matching("x") == ["late"]
