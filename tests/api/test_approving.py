"""Approving and rejecting over HTTP: who may, what is recorded, and that saying it twice is saying it once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from app.store.store import Store

Begin = Callable[..., Awaitable[str]]


@pytest.fixture
async def run(api: httpx.AsyncClient, store: Store, begin: Begin, published: Any, document: Any) -> str:
    """A run whose node `publish` is an approval that waits."""
    document["nodes"]["publish"] = {"approval": {"message": "Publish?"}, "needs": ["read"]}
    (await api.put("/api/v1/workflows/shop", json=document)).raise_for_status()
    run = await begin()
    await store.batcher.call("HSET", store.keys.run(run), "s", "running")
    await store.batcher.call(
        "HSET", store.keys.node(run, "publish"), "s", "waiting", "y", 1, "u", 0, "am", "Publish?"
    )
    return run


def path(run: str, what: str, node: str = "publish") -> str:
    return f"/api/v1/runs/{run}/nodes/{node}/{what}"


async def test_the_decision_is_recorded_shown_and_audited(api: httpx.AsyncClient, run: str):
    answer = await api.post(path(run, "approve"), json={"comment": "fine"})
    assert answer.status_code == 202
    decision = answer.json()["decision"]
    assert (decision["approved"], decision["by"], decision["comment"]) == (True, "root", "fine")
    shown = (await api.get(f"/api/v1/runs/{run}/nodes/publish")).json()["approval"]
    assert (shown["message"], shown["until"], shown["decision"]) == ("Publish?", None, decision)
    entries = (await api.get("/api/v1/audit")).json()["items"]
    assert any(entry["target"] == path(run, "approve") for entry in entries)


async def test_the_same_again_gets_the_first_answer_and_the_other_is_a_conflict(
    api: httpx.AsyncClient, run: str
):
    first = (await api.post(path(run, "reject"))).json()
    assert (await api.post(path(run, "reject"), json={"comment": "again"})).json() == first
    assert (await api.post(path(run, "approve"))).status_code == 409


@pytest.mark.parametrize(("node", "status"), [("read", 409), ("nothing", 404)])
async def test_only_an_approval_can_be_decided(api: httpx.AsyncClient, run: str, node: str, status: int):
    assert (await api.post(path(run, "approve", node))).status_code == status


async def test_a_run_that_has_ended_waits_for_nobody(api: httpx.AsyncClient, store: Store, run: str):
    await store.batcher.call("HSET", store.keys.run(run), "s", "cancelled")
    assert (await api.post(path(run, "approve"))).status_code == 409


@pytest.mark.parametrize(("scope", "inside", "status"), [
    ("approve", "", 202), ("operate", "", 403), ("read", "", 403), ("approve", "other", 403)])  # fmt: skip
async def test_it_takes_the_scope_approve_inside_the_prefix(
    run: str, key_for: Any, scope: str, inside: str, status: int
):
    async with await key_for(scope, prefix=inside) as client:
        assert (await client.post(path(run, "approve"))).status_code == status


async def test_a_comment_that_is_no_text_is_invalid(api: httpx.AsyncClient, run: str):
    assert (await api.post(path(run, "approve"), json={"comment": 3})).status_code == 422
