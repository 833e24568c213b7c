"""Memory stays flat, whatever the number of records."""

from __future__ import annotations

from typing import Any

from headrace.testing import MemoryEngine


def test_two_hundred_thousand_records_need_less_than_150_mib(server: Any, launch: Any, feed: Any) -> None:
    server.engine = MemoryEngine(config={"uri": feed(200_000)})
    node = launch("Copy")
    assert node.wait() == 0
    assert server.engine.checkpoint.metadata["count"] == 200_000
    assert 0 < node.peak_mib < 150
