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


async def test_a_workflow_is_paused_and_resumed_again_and_again(api: httpx.AsyncClient):
    answers = [await api.post("/api/v1/workflows/shop/pause") for _ in range(2)]
    assert [each.status_code for each in answers] == [202, 202]
    since = answers[0].json()["paused"]
    assert since is not None
    assert answers[1].json()["paused"] == since
    assert (await api.get("/api/v1/workflows/shop")).json()["paused"] == since
    assert (await api.post("/api/v1/workflows/shop/runs", json={"params": {"feed": "a"}})).status_code == 202
    for _ in range(2):
        assert (await api.post("/api/v1/workflows/shop/resume")).json() == {
            "workflow": "shop",
            "paused": None,
        }


async def test_an_archived_workflow_stays_paused_until_it_is_resumed(api: httpx.AsyncClient, document):
    await api.post("/api/v1/workflows/shop/pause")
    await api.delete("/api/v1/workflows/shop")
    assert (await api.put("/api/v1/workflows/shop", json=document)).status_code == 200
    found = (await api.get("/api/v1/workflows/shop")).json()
    assert (found["archived"], found["paused"] is not None) == (None, True)


@pytest.mark.parametrize("act", ["pause", "resume"])
async def test_an_unknown_workflow_is_not_found_and_a_key_needs_operate(
    api: httpx.AsyncClient, key_for: KeyFor, act
):
    assert (await api.post(f"/api/v1/workflows/nobody/{act}")).status_code == 404
    assert (await (await key_for("write")).post(f"/api/v1/workflows/shop/{act}")).status_code == 403
