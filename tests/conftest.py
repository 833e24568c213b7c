"""Shared fixtures: one real server per test process, a prefix of its own per test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio as aioredis

from app.embedded import EmbeddedValkey
from app.store.client import connect
from app.store.keys import Keys


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A real Valkey with AOF always, shared by the tests of one process."""
    server = EmbeddedValkey(Path(tmp_path_factory.mktemp("valkey")))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test uses."""
    return f"t-{secrets.token_hex(6)}"


@pytest.fixture
def keys(prefix: str) -> Keys:
    return Keys(prefix)


@pytest.fixture
async def client(valkey: EmbeddedValkey) -> AsyncIterator[aioredis.Redis]:
    connection = connect(valkey.url, timeout=5)
    yield connection
    await connection.aclose()
