"""What the tests against the real store share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.settings import Settings
from app.store.store import Store

LEASE = 0.02
"""Seconds after which the submission of a dead worker is taken over."""


@pytest.fixture
async def stores(settings: Settings) -> AsyncIterator[list[Store]]:
    """Two workers' connections."""
    opened = [await Store.open(settings.model_copy(update={"lease": LEASE})) for _ in range(2)]
    yield opened
    for store in opened:
        await store.close()
