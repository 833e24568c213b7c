"""Killed anywhere, a stock node ends with the same metadata and the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from headrace import Node
from headrace.testing import Outcome, run_node
from headrace_nodes.catalog_filter import CatalogFilter
from headrace_nodes.catalog_merge import CatalogMerge
from headrace_nodes.catalog_publish import CatalogPublish
from headrace_nodes.catalog_read import CatalogRead
from headrace_nodes.catalog_reprice import CatalogReprice
from headrace_nodes.catalog_split import CatalogSplit
from headrace_nodes.demo import ROOT
from headrace_nodes.generate import products, write
from headrace_nodes.image_watermark import ImageWatermark

Kill = int | str | list[int | str]
KILLS: list[Kill] = [17, "configure", "execute", "output", [3, 33, "execute", "output"]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What a node leaves in a directory of its own: metadata, records, ledger, published files."""

    def start(name: str, node: type[Node], kill_at: Kill | None, **options: Any) -> dict[str, Any]:
        kills: Kill = [] if kill_at is None else kill_at
        data = tmp_path / name
        outcome: Outcome = run_node(
            node,
            data_dir=data,
            data_roots=[tmp_path, ROOT],
            tolerate=0.5,
            checkpoint_records=7,
            kill_at=kills,
            **options,
        )
        assert outcome.exit_code == 0
        assert outcome.crashes == (len(kills) if isinstance(kills, list) else 1)
        found = {
            "metadata": outcome.metadata,
            "records": outcome.records,
            "failed": outcome.failed,
            "files": {
                path.name: path.read_bytes().hex()
                for path in sorted((outcome.data_dir / "files").rglob("*.*"))
            },
        }
        return orjson.loads(orjson.dumps(found).replace(str(data).encode(), b"DATA"))

    return start


@pytest.fixture
def feed(tmp_path: Path) -> str:
    write(tmp_path / "feed.ndjson", 40)
    return "file:feed.ndjson"


@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("form", ["ndjson", "csv", "shopify"])
def test_reading(run: Callable[..., Any], tmp_path: Path, kill: Kill, form: str):
    write(tmp_path / "feed", 40, form=form)
    config = {"uri": "file:feed"}
    assert run("killed", CatalogRead, kill, config=config) == run("whole", CatalogRead, None, config=config)


@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("node", [CatalogFilter, CatalogReprice])
def test_one_record_at_a_time(run: Callable[..., Any], feed: str, node: type[Node], kill: Kill):
    config = {"percent": 5} if node is CatalogReprice else {"max_price": 40}
    options = {"config": config, "inputs": {"read": {"uri": feed}}}
    assert run("killed", node, kill, **options) == run("whole", node, None, **options)


def test_splitting(run: Callable[..., Any], feed: str):
    options = {"config": {"size": 7}, "inputs": {"read": {"uri": feed}}}
    assert run("killed", CatalogSplit, ["configure", "output"], **options) == run(
        "whole", CatalogSplit, None, **options
    )


@pytest.mark.parametrize("kill", KILLS)
def test_watermarking_with_its_failed_record(run: Callable[..., Any], kill: Kill):
    options = {"item": {"uri": "file:demo/catalog.ndjson"}}
    whole = run("whole", ImageWatermark, None, **options)
    assert [entry["key"] for entry in whole["failed"]] == ["petit-orme-09"]
    assert run("killed", ImageWatermark, kill, **options) == whole


@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("order", ["same", "turned"])
def test_merging(run: Callable[..., Any], feed: str, tmp_path: Path, kill: Kill, order: str):
    others = [record for record in products(40) if not record["id"].endswith("5")]
    (tmp_path / "other.ndjson").write_bytes(
        b"".join(orjson.dumps(record) + b"\n" for record in (others if order == "same" else reversed(others)))
    )
    options = {"inputs": {"a": {"uri": feed}, "b": {"uri": "file:other.ndjson"}}}
    whole = run("whole", CatalogMerge, None, **options)
    assert whole["metadata"]["incomplete"] == 4
    assert run("killed", CatalogMerge, kill, **options) == whole


@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("form", ["ndjson", "google-merchant-tsv", "shopify-csv"])
def test_publishing(run: Callable[..., Any], feed: str, kill: Kill, form: str):
    options = {"config": {"format": form}, "inputs": {"merge": {"uri": feed}}}
    whole = run("whole", CatalogPublish, None, **options)
    assert len(whole["files"]) == 1
    assert run("killed", CatalogPublish, kill, **options) == whole
