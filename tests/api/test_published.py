"""What the hot routes remember of workflows."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.api.hook_cache import HookCache
from app.errors import Conflict, NotFound
from app.published import PublishedCache
from app.store.store import Store

pytestmark = pytest.mark.usefixtures("published")


@pytest.fixture
def cache(store: Store) -> PublishedCache:
    """The cache of another API process."""
    return PublishedCache(store.workflows)


async def test_a_publish_elsewhere_is_seen_within_a_second(
    cache: PublishedCache, api: httpx.AsyncClient, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    now = 1000.0
    monkeypatch.setattr("app.published.time.monotonic", lambda: now)
    assert (await cache.current("shop")).version == 1
    await api.put("/api/v1/workflows/shop", json=document | {"description": "second"})
    now += 0.5
    assert (await cache.current("shop")).version == 1
    now += 0.6
    assert (await cache.current("shop")).version == 2


async def test_an_unknown_workflow_is_not_remembered(cache: PublishedCache):
    with pytest.raises(NotFound):
        await cache.current("nobody")


async def test_an_archived_workflow_is_a_conflict(cache: PublishedCache, api: httpx.AsyncClient):
    await api.delete("/api/v1/workflows/shop")
    with pytest.raises(Conflict):
        await cache.current("shop")


async def test_an_older_version_stays_usable(
    cache: PublishedCache, api: httpx.AsyncClient, document: dict[str, Any]
):
    await api.put("/api/v1/workflows/shop", json=document | {"description": "second"})
    assert (await cache.usable("shop", 1)).version == 1
    assert (await cache.usable("shop", None)).version == 2


async def test_guesses_of_tokens_do_not_push_known_hooks_out(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.api.hook_cache.MAX_HOOKS", 2)
    hooks = HookCache(store.hooks)
    known = (await store.hooks.list("shop"))[0]
    assert await hooks.find(known.token) == known
    for guess in range(5):
        assert await hooks.find(f"guess-{guess}") is None
    await store.hooks.remove("shop", known.name)
    assert await hooks.find(known.token) == known
    hooks.forget()
    assert await hooks.find(known.token) is None
