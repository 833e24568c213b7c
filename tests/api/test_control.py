"""Cancel, pause and resume over HTTP: idempotent, audited, with the scope operate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest

Begin = Callable[..., Awaitable[str]]
KeyFor = Callable[..., Awaitable[httpx.AsyncClient]]
ACTS = ("cancel", "pause", "resume")

pytestmark = pytest.mark.usefixtures("published")


@pytest.mark.parametrize("act", ACTS)
async def test_asking_is_accepted_again_and_again(api: httpx.AsyncClient, begin: Begin, act: str):
    run = await begin()
    for _ in range(3):
        answer = await api.post(f"/api/v1/runs/{run}/{act}")
        assert (answer.status_code, answer.json()) == (202, {"run": run, "status": "queued"})


async def test_a_run_whose_trigger_still_waits_can_be_paused_and_cancelled(api: httpx.AsyncClient):
    accepted = await api.post("/api/v1/workflows/shop/runs", json={"params": {"feed": "file:a"}})
    run = accepted.json()["run"]
    assert (await api.post(f"/api/v1/runs/{run}/pause")).status_code == 202
    assert (await api.get(f"/api/v1/runs/{run}")).json()["paused"] is not None
    assert (await api.post(f"/api/v1/runs/{run}/cancel")).json()["status"] == "queued"


@pytest.mark.parametrize("act", ACTS)
async def test_an_unknown_run_is_not_found(api: httpx.AsyncClient, act: str):
    assert (await api.post(f"/api/v1/runs/r-nobody/{act}")).status_code == 404


@pytest.mark.parametrize("act", ACTS)
async def test_it_needs_the_scope_operate_and_the_prefix_and_is_audited(
    api: httpx.AsyncClient, begin: Begin, key_for: KeyFor, act: str
):
    run = await begin()
    path = f"/api/v1/runs/{run}/{act}"
    for key in (("write", "trigger", "read"), ("operate",)):
        client = await key_for(*key, prefix="" if "write" in key else "other-")
        assert (await client.post(path)).status_code == 403
    client = await key_for("operate", prefix="shop")
    assert (await client.post(path)).status_code == 202
    identity = (await client.get("/api/v1/session")).json()["id"]
    entry = (await api.get("/api/v1/audit", params={"key": identity})).json()["items"][0]
    assert (entry["outcome"], entry["target"]) == ("done", path)
