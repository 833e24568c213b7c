"""POST /ticks/{token}: the pod of a CronJob says that its schedule is due."""

from __future__ import annotations

from typing import Any

import httpx

from app.core.round import iso
from app.core.tokens import CALLBACK, NEVER_MS, TICK, TokenClaims, sign
from app.store.store import Store

MINUTE = 60_000


async def publish(api: httpx.AsyncClient, store: Store) -> int:
    """A schedule of every minute, whose last tick was two minutes before the time that is returned."""
    (await api.put("/api/v1/node-types/step", json={"image": "busybox:1"})).raise_for_status()
    document: dict[str, Any] = {"name": "clock", "nodes": {"a": {"type": "step"}}}
    document["triggers"] = [{"schedule": {"name": "often", "cron": "* * * * *"}}]
    (await api.put("/api/v1/workflows/clock", json=document)).raise_for_status()
    tick = await store.workers.now() // MINUTE * MINUTE
    await store.batcher.call("HSET", store.keys.ticks("clock"), "often", tick - 2 * MINUTE)
    return tick


def url(store: Store, purpose: Any = TICK) -> str:
    token = sign(store.secret, TokenClaims("", "often", 0, "clock", 0, NEVER_MS), purpose)
    return f"/api/v1/ticks/{token}"


async def test_a_tick_fires_what_is_due_once(
    api: httpx.AsyncClient, anonymous: httpx.AsyncClient, store: Store
):
    tick = await publish(api, store)
    answer = await anonymous.post(url(store), json={"time": iso(tick)})
    assert answer.status_code == 202
    receipts = answer.json()["receipts"]
    assert [each["time"] for each in receipts][:2] == [
        iso(tick - MINUTE),
        iso(tick),
    ]  # what was missed before, too
    assert {each["state"] for each in receipts} == {"queued"}
    again = await anonymous.post(url(store), json={"time": iso(tick)})
    assert iso(tick) not in [each["time"] for each in again.json()["receipts"]]


async def test_a_clock_that_is_a_little_ahead_fires_its_tick(
    anonymous: httpx.AsyncClient, api: httpx.AsyncClient, store: Store
):
    tick = await publish(api, store) + MINUTE
    receipts = (await anonymous.post(url(store), json={"time": iso(tick)})).json()["receipts"]
    assert iso(tick) in [each["time"] for each in receipts]


async def test_a_time_to_come_is_refused(anonymous: httpx.AsyncClient, api: httpx.AsyncClient, store: Store):
    tick = await publish(api, store)
    answer = await anonymous.post(url(store), json={"time": iso(tick + 10 * MINUTE)})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/time"


async def test_a_token_of_another_kind_opens_nothing(
    anonymous: httpx.AsyncClient, api: httpx.AsyncClient, store: Store
):
    await publish(api, store)
    assert (await anonymous.post(url(store, CALLBACK), json={})).status_code == 401
    assert (await anonymous.post(url(store)[:-3] + "AAA", json={})).status_code == 401


async def test_a_workflow_out_of_use_has_no_ticks(
    anonymous: httpx.AsyncClient, api: httpx.AsyncClient, store: Store
):
    await publish(api, store)
    (await api.delete("/api/v1/workflows/clock")).raise_for_status()
    answer = await anonymous.post(url(store), json={})
    assert (answer.status_code, answer.json()) == (202, {"receipts": []})
