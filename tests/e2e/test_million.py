"""The program behind `make million`, small: what it computes by itself is what the nodes publish."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from loadtests.million import Million, Options


async def test_the_published_catalog_is_byte_for_byte_what_the_program_computes_by_itself(tmp_path: Path):
    million = Million(Options(products=2_000, parts=3, kill=[], minutes=1), tmp_path, Console())
    try:
        await million.run()
    finally:
        million.dev.close()
    assert million.problems == []
    assert {name.partition(":")[0] for name in million.memory.nodes} >= {
        "read",
        "filter",
        "reprice",
        "merge",
        "publish",
    }
