from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.embedded import EmbeddedValkey
from tests.docs.place import Place


@pytest.fixture(scope="session")
def place(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server and a worker, shared by the examples."""
    with Place(valkey, tmp_path_factory.mktemp("docs")) as place:
        yield place
