"""A whole installation as a person would start it: `headrace dev` on a directory of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from headrace_nodes import generate
from loadtests.api import Api, until
from loadtests.dev import Dev, Ready


@pytest.fixture
async def dev(tmp_path: Path) -> AsyncIterator[Dev]:
    """Two workers; not started yet, and ended with the test."""
    dev = Dev(tmp_path)
    yield dev
    await asyncio.to_thread(dev.close)


Connect = Callable[[Ready], Api]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens a client of an installation that is ready."""
    opened: list[Api] = []

    def connect(ready: Ready) -> Api:
        opened.append(Api(ready, patience=30))
        return opened[-1]

    yield connect
    for api in opened:
        await api.close()


@pytest.fixture
def long_read(dev: Dev) -> dict[str, Any]:
    """A workflow whose one node reads for a few seconds."""
    generate.write(dev.feeds / "long.ndjson", 150_000)
    return {
        "name": "long-read",
        "nodes": {"read": {"type": "catalog-read", "config": {"uri": "file:long.ndjson"}}},
        "output": {"uri": "${{ nodes.read.metadata.uri }}", "count": "${{ nodes.read.metadata.count }}"},
    }


@pytest.fixture
def half_way() -> Callable[[Api, str], Awaitable[int]]:
    """Waits until the node `read` of a run has a position inside execute; how many records lie before it."""

    async def wait(api: Api, run: str) -> int:
        async def done() -> int:
            node = await api.get(f"/runs/{run}/nodes/read")
            assert node["status"] != "succeeded", "the feed is too short for this machine"
            return node["progress"]["done"] if node["progress"] and node["step"] == "configure" else 0

        return await until(done, 60, 0.02)

    return wait
