"""Pools over HTTP: seen, set, and guarded."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.core.tasks import Task
from app.store.store import Store

POOLS = "/api/v1/pools"


def workflow(*pools: Any, **more: Any) -> dict[str, Any]:
    return {"name": "shop", "nodes": {"a": {"type": "step", "pools": list(pools), **more}}}


@pytest.fixture(autouse=True)
async def _step(api: httpx.AsyncClient) -> None:
    (await api.put("/api/v1/node-types/step", json={"image": "busybox:1"})).raise_for_status()


async def test_the_pool_global_is_there_from_the_start(api: httpx.AsyncClient, settings):
    (pool,) = (await api.get(POOLS)).json()["items"]
    assert pool == {"name": "global", "slots": settings.global_slots, "used": 0, "holders": [], "waiting": 0}


async def test_a_pool_is_set_and_set_again(api: httpx.AsyncClient):
    first = await api.put(f"{POOLS}/pricing-db", json={"slots": 4})
    again = await api.put(f"{POOLS}/pricing-db", json={"slots": 2})
    assert [(a.status_code, a.json()["slots"]) for a in (first, again)] == [(201, 4), (200, 2)]
    assert (await api.get(f"{POOLS}/pricing-db")).json()["slots"] == 2
    (entry,) = (await api.get("/api/v1/audit")).json()["items"][:1]
    assert entry["action"] == f"PUT {POOLS}/{{pool}}"


@pytest.mark.parametrize("name", ["global", "type:step", "workflow:shop", "a.b_c-d"])
async def test_every_kind_of_pool_can_be_set(api: httpx.AsyncClient, name: str):
    assert (await api.put(f"{POOLS}/{name}", json={"slots": 1})).json()["name"] == name


@pytest.mark.parametrize(("name", "body"), [
    ("Upper", {"slots": 1}), ("node:x", {"slots": 1}), ("type:", {"slots": 1}), ("type:a_b", {"slots": 1}),
    ("db", {}), ("db", {"slots": -1}), ("db", {"slots": "3"}), ("db", {"slots": 1, "odd": 1}),
])  # fmt: skip
async def test_what_is_no_pool_is_refused(api: httpx.AsyncClient, name: str, body: dict[str, Any]):
    assert (await api.put(f"{POOLS}/{name}", json=body)).status_code == 422
    assert (await api.get(f"{POOLS}/{name}")).status_code == 404


async def test_setting_a_pool_needs_admin_and_a_prefix_sets_only_its_own_workflows(key_for):
    async with await key_for("read", "write", "operate") as writer:
        assert (await writer.put(f"{POOLS}/db", json={"slots": 1})).status_code == 403
    async with await key_for("admin", prefix="shop") as shop:
        assert (await shop.put(f"{POOLS}/db", json={"slots": 1})).status_code == 403
        assert (await shop.put(f"{POOLS}/workflow:shop-a", json={"slots": 1})).status_code == 201
        assert (await shop.put(f"{POOLS}/workflow:other", json={"slots": 1})).status_code == 403


async def test_a_key_with_a_prefix_sees_only_its_own_holders(api: httpx.AsyncClient, key_for, store: Store):
    key = store.keys.pool("global")
    for run, name in (("r1", "shop"), ("r2", "other")):
        await store.batcher.call("HSET", key, Task(run, "a", 1, 0).encode(), f"1000 1 {name} step")
    await store.batcher.call("HSET", key, Task("r3", "a:7", 1, 0).encode(), "999")
    await store.pools.put("workflow:other", 3)
    async with await key_for("read", prefix="shop") as shop:
        (pool,) = (await shop.get(POOLS)).json()["items"]
        assert ([holder["run"] for holder in pool["holders"]], pool["used"]) == (["r1"], 3)
        assert (await shop.get(f"{POOLS}/workflow:other")).status_code == 404
    everything = (await api.get(f"{POOLS}/global")).json()["holders"]
    assert [(each["run"], each.get("item")) for each in everything] == [("r3", 7), ("r1", None), ("r2", None)]


async def test_a_pool_that_a_workflow_uses_first_is_made_with_the_slots_of_the_setting(
    api: httpx.AsyncClient, settings
):
    assert (await api.put("/api/v1/workflows/shop", json=workflow("new"))).status_code == 201
    assert (await api.get(f"{POOLS}/new")).json()["slots"] == settings.pool_slots


async def test_checking_a_workflow_makes_no_pool(api: httpx.AsyncClient):
    assert (await api.put("/api/v1/workflows/shop?dry_run=true", json=workflow("new"))).status_code == 200
    assert (await api.get(f"{POOLS}/new")).status_code == 404


async def test_more_slots_than_a_pool_has_are_refused_with_how_to_mend_it(api: httpx.AsyncClient):
    await api.put(f"{POOLS}/gpu", json={"slots": 2})
    answer = await api.put("/api/v1/workflows/shop", json=workflow({"name": "gpu", "slots": 3}))
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["pointer"]) == (422, "/nodes/a/pools/0")
    assert 'PUT /api/v1/pools/gpu {"slots": 3}' in error["detail"]
    await api.put(f"{POOLS}/gpu", json={"slots": 3})
    answer = await api.put("/api/v1/workflows/shop", json=workflow({"name": "gpu", "slots": 3}))
    assert answer.status_code == 201


@pytest.mark.parametrize("pools", [["global"], ["db", "db"], ["db", {"name": "db", "slots": 2}]])
async def test_a_pool_is_listed_once_and_global_never(api: httpx.AsyncClient, pools: list[Any]):
    answer = await api.put("/api/v1/workflows/shop", json=workflow(*pools))
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["pointer"]) == (422, f"/nodes/a/pools/{len(pools) - 1}")
