"""An API over a real Valkey, and clients that speak to it in this process."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette

from app.core.tokens import TokenClaims, sign
from app.embedded import EmbeddedValkey
from app.main import create_app
from app.settings import Settings
from app.store.store import Store
from app.store.triggers import read_trigger

ADMIN_KEY = "hr_root_0123456789abcdef0123"

Document = dict[str, Any]
Publish = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
def settings(valkey: EmbeddedValkey, prefix: str, tmp_path: Path) -> Settings:
    return Settings(
        redis_url=SecretStr(valkey.url),
        prefix=prefix,
        bootstrap_key=SecretStr(ADMIN_KEY),
        log_dir=tmp_path / "logs",
        log_level="critical",
        executors="process,kubernetes",
    )


@pytest.fixture
async def app(settings: Settings) -> AsyncGenerator[Starlette]:
    """The application, started."""
    application = create_app(settings)
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture
async def store(settings: Settings, app: Starlette) -> AsyncGenerator[Store]:
    """A store of our own on the same keys, to look behind the API and to play the worker."""
    opened = await Store.open(settings)
    yield opened
    await opened.close()


@pytest.fixture
async def anonymous(app: Starlette) -> AsyncGenerator[httpx.AsyncClient]:
    """A client without any key."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


@pytest.fixture
async def api(app: Starlette) -> AsyncGenerator[httpx.AsyncClient]:
    """A client with the admin key."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        yield client


@pytest.fixture
def document() -> Document:
    """A small valid workflow that needs a param."""
    return {
        "name": "shop",
        "params": {"type": "object", "required": ["feed"], "properties": {"feed": {"type": "string"}}},
        "nodes": {"read": {"type": "step"}, "publish": {"type": "step", "needs": ["read"]}},
        "triggers": [{"webhook": {"name": "arrived", "params": {"feed": "${{ event.body.url }}"}}}],
    }


@pytest.fixture
async def published(api: httpx.AsyncClient, document: Document) -> httpx.Response:
    """The document, published with its node type."""
    (await api.put("/api/v1/node-types/step", json={"image": "busybox:1"})).raise_for_status()
    answer = await api.put("/api/v1/workflows/shop", json=document)
    assert answer.status_code == 201, answer.text
    return answer


@pytest.fixture
def key_for(app: Starlette, api: httpx.AsyncClient) -> Callable[..., Awaitable[httpx.AsyncClient]]:
    """Makes a client whose key has the given scopes and prefix."""

    async def make(*scopes: str, prefix: str = "") -> httpx.AsyncClient:
        answer = await api.post("/api/v1/keys", json={"scopes": scopes, "prefix": prefix})
        headers = {"authorization": f"Bearer {answer.json()['key']}"}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost", headers=headers
        )

    return make


@pytest.fixture
def token_for(store: Store) -> Callable[..., str]:
    """Signs the token of a node run."""

    def make(run: str, ref: str, attempt: int = 1, *, expires_ms: int | None = None) -> str:
        expires = expires_ms if expires_ms is not None else int(time.time() * 1000) + 60_000
        return sign(store.secret, TokenClaims(run, ref, attempt, "shop", 1, expires))

    return make


@pytest.fixture
def server(settings: Settings) -> Iterator[str]:
    """A real uvicorn in a thread, as `headrace server` runs it; gives its URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(settings),
        http="httptools",
        lifespan="on",
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(running.serve([listener])), daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    deadline = time.monotonic() + 10
    while not running.started and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture
def begin(api: httpx.AsyncClient, store: Store) -> Callable[..., Awaitable[str]]:
    """Posts a run of `shop` and does what a worker would: makes the run, and its node `read` starting
    (attempt 1)."""

    async def make(params: dict[str, Any] | None = None) -> str:
        body = {"params": params or {"feed": "file:a.ndjson"}, "labels": {"shop": "north"}}
        accepted = await api.post("/api/v1/workflows/shop/runs", json=body)
        run: str = accepted.json()["run"]
        for entry in await store.stream(store.keys.triggers, "test").read(100, 1000):
            await store.triggers.start_run(read_trigger(entry.id, entry.fields), 2)
        await store.batcher.call("HSET", store.keys.node(run, "read"), "s", "starting", "a", 1)
        return run

    return make
