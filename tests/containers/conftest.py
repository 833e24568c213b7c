from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.conftest import desk, installation, site
from tests.conformance.places import Containers
from tests.containers.engine import TestEngine
from tests.containers.proxy import EngineProxy

__all__ = ["desk", "installation", "site"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for the engine, and for what must be installed for it."""
    if items:
        items[0].add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def place(container_engine: TestEngine) -> Containers:
    return Containers(container_engine)


@pytest.fixture
async def proxy(container_engine: TestEngine, tmp_path: Path) -> AsyncIterator[EngineProxy]:
    """The engine behind a socket that can be frozen."""
    async with EngineProxy(container_engine.address, tmp_path / "engine.sock") as made:
        yield made
