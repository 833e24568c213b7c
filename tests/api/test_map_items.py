"""The metadata of a map's items over HTTP: for keys that may read the run, and for the nodes after the map."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest

from app.core.mapdata import by_reference, metadata
from app.store.store import Store

Begin = Callable[..., Awaitable[str]]
TokenFor = Callable[..., str]


@pytest.fixture
async def run(api: httpx.AsyncClient, store: Store, begin: Begin, document: Any, published: Any) -> str:
    """A run of `shop` whose node `read` was a map of three items, the second failed."""
    run = await begin()
    for index, (status, value) in enumerate([("succeeded", 1), ("failed", 2), ("succeeded", 3)]):
        await store.batcher.call("HSET", store.keys.node(run, f"read:{index}"), "s", status, "m", value)
    m = metadata(3, 2, 1, by_reference(run, "read"))
    await store.batcher.call(
        "HSET", store.keys.node(run, "read"), "s", "succeeded", "n", 3, "ok", 2, "j", 4, "m", m
    )
    await store.batcher.call("HSET", store.keys.node(run, "publish"), "s", "starting", "a", 1)
    return run


def path(run: str, node: str = "read") -> str:
    return f"/api/v1/runs/{run}/nodes/{node}/items/metadata"


async def test_a_key_reads_the_metadata_of_all_items_in_pages(api: httpx.AsyncClient, run: str):
    first = (await api.get(path(run), params={"limit": 2})).json()
    assert first["items"] == [1, None]
    second = (await api.get(path(run), params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert second == {"items": [3], "next_cursor": None}


async def test_a_node_after_the_map_reads_it_with_its_own_token(
    anonymous: httpx.AsyncClient, run: str, token_for: TokenFor
):
    headers = {"authorization": f"Bearer {token_for(run, 'publish')}"}
    start = await anonymous.post(
        f"/api/v1/runs/{run}/nodes/publish/start", json={"instance": "pod"}, headers=headers
    )
    href = start.json()["inputs"]["read"]["items"]["$href"]
    assert (await anonymous.get(href, headers=headers)).json()["items"] == [1, None, 3]


@pytest.mark.parametrize("ref", ["read", "read:0"])
async def test_a_node_that_does_not_come_after_the_map_is_refused(
    anonymous: httpx.AsyncClient, run: str, token_for: TokenFor, ref: str
):
    answer = await anonymous.get(path(run), headers={"authorization": f"Bearer {token_for(run, ref)}"})
    assert answer.status_code == 403


async def test_a_token_of_another_run_reads_only_what_its_own_run_took_over(
    anonymous: httpx.AsyncClient, store: Store, run: str, begin: Begin, token_for: TokenFor
):
    other = await begin()
    headers = {"authorization": f"Bearer {token_for(other, 'publish')}"}
    assert (await anonymous.get(path(run), headers=headers)).status_code == 403
    m = await store.batcher.call("HGET", store.keys.node(run, "read"), "m")
    await store.batcher.call("HSET", store.keys.node(other, "read"), "m", m)
    assert (await anonymous.get(path(run), headers=headers)).json()["items"] == [1, None, 3]


async def test_without_a_key_or_a_token_nothing_is_told(anonymous: httpx.AsyncClient, run: str):
    for headers in ({}, {"authorization": "Bearer hn_bad.token"}, {"authorization": "Bearer hr_no_one"}):
        assert (await anonymous.get(path(run), headers=headers)).status_code == 401


async def test_a_key_outside_its_prefix_is_refused(run: str, key_for: Any):
    async with await key_for("read", prefix="other") as client:
        assert (await client.get(path(run))).status_code == 403


async def test_a_node_that_is_no_map_has_no_items(api: httpx.AsyncClient, run: str):
    assert (await api.get(path(run, "publish"))).status_code == 404


async def test_the_metadata_of_the_map_names_where_its_items_are(api: httpx.AsyncClient, run: str):
    record = (await api.get(f"/api/v1/runs/{run}/nodes/read")).json()
    assert record["metadata"] == {"count": 3, "succeeded": 2, "failed": 1, "items": {"$href": path(run)}}
    assert orjson.loads(metadata(0, 0, 0, b"[]")) == {"count": 0, "succeeded": 0, "failed": 0, "items": []}
