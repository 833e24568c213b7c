"""Shared fixtures: one real server per test process, a prefix of its own per test."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import redis.asyncio as aioredis
from pydantic import SecretStr

from app.core.nodetypes import NodeType
from app.core.spec import parse_workflow
from app.core.validate import check
from app.embedded import EmbeddedValkey
from app.settings import Settings
from app.store import keys as keys_module
from app.store.client import connect
from app.store.keys import Keys
from app.store.store import Store

if TYPE_CHECKING:
    from tests.containers.engine import TestEngine

STEP = NodeType(name="step", version=1, command=["true"], config_schema={"type": "object"})
"""The node type of the engine's own tests: any config, any metadata."""


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A real Valkey with AOF always, shared by the tests of one process."""
    server = EmbeddedValkey(Path(tmp_path_factory.mktemp("valkey")))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def container_engine() -> Iterator[TestEngine]:
    """A real Docker or Podman, for the tests of make test-containers."""
    from tests.containers.engine import engine

    with engine() as found:
        yield found


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


@pytest.fixture
def settings(valkey: EmbeddedValkey, prefix: str, tmp_path: Path) -> Settings:
    return Settings(
        redis_url=SecretStr(valkey.url), prefix=prefix, log_dir=tmp_path / "logs", log_level="critical"
    )


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    opened = await Store.open(settings)
    yield opened
    await opened.close()


@pytest.fixture
def publish(store: Store) -> Callable[[dict[str, Any]], Awaitable[None]]:
    """Puts version 1 of a workflow into the store, checked as the API checks it; its only node type is `step`."""

    async def put(document: dict[str, Any]) -> None:
        workflow = check(parse_workflow(document), {"step": STEP})
        key = store.keys.workflow_version(workflow.name, 1)
        await store.batcher.call("SET", key, orjson.dumps(workflow.canonical()))

    return put


@pytest.fixture
def configure(store: Store) -> Callable[..., Awaitable[int]]:
    """Publishes a workflow with a head and versions, as the API does; its only node type is `step`. The version's number."""

    async def put(name: str, nodes: dict[str, Any], **more: Any) -> int:
        workflow = check(parse_workflow({"name": name, "nodes": nodes, **more}), {"step": STEP})
        return (await store.workflows.publish(name, workflow.canonical(), by="test")).version

    return put


# the key leak check -------------------------------------------------------------------------------------------


def _documented() -> list[tuple[re.Pattern[str], str, bool]]:
    """(pattern of the key behind its hash tag, its type, whether it expires) of each row of the table in keys.py."""
    rows: list[tuple[re.Pattern[str], str, bool]] = []
    for line in (keys_module.__doc__ or "").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]
        if len(cells) != 7 or cells[1] in ("key", "---"):
            continue
        for name in cells[1].split(", "):
            pattern = re.sub(r"[A-Z]+", ".+", name)
            rows.append(
                (re.compile(pattern), cells[2].split(" ")[0], cells[4] in ("24 h", "30 d", "its own"))
            )
    return rows


def tag_of(key: str) -> str:
    """The hash tag of a key's installation."""
    return key.partition("}")[0] + "}"


@pytest.fixture
def key_check(valkey: EmbeddedValkey, prefix: str) -> Iterator[None]:
    """After the test: every key that was written belongs to it, is of a documented kind, and expires as documented."""
    import redis

    server = redis.Redis.from_url(valkey.url, socket_timeout=5)
    before = set(server.scan_iter(count=1000))
    yield
    tag, documented = Keys(prefix).tag, _documented()
    assert documented, "the table in app/store/keys.py was not found"
    kept = {tag_of(raw.decode()) for raw in before}
    for raw in set(server.scan_iter(count=1000)) - before:
        key = raw.decode()
        if key.startswith(("arq:", f"{tag}:arq")):
            continue
        if tag_of(key) in kept and key.startswith(
            f"{tag_of(key)}:arq"
        ):  # of a worker that another test keeps
            continue
        assert key.startswith(f"{tag}:"), f"a key of no test of ours: {key}"
        kind, ttl = server.type(key).decode(), server.ttl(key)  # pyright: ignore
        if kind == "none":
            continue
        name = key.removeprefix(f"{tag}:")
        fitting = [row for row in documented if row[0].fullmatch(name) and row[1] == kind]
        assert fitting, f"a key of no documented kind: {key} ({kind})"
        assert any((ttl != -1) == row[2] for row in fitting), f"{key} has a TTL of {ttl}"
    server.close()
