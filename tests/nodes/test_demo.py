"""The demo: its files are what make_demo makes, its workflow is valid, and it ends as it is meant to."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from app.core.nodetypes import NodeType
from app.core.spec import parse_workflow
from app.core.validate import check
from headrace.testing import Outcome, run_node
from headrace_nodes import demo
from headrace_nodes.catalog_filter import CatalogFilter
from headrace_nodes.catalog_merge import CatalogMerge
from headrace_nodes.catalog_publish import CatalogPublish
from headrace_nodes.catalog_read import CatalogRead
from headrace_nodes.catalog_reprice import CatalogReprice
from headrace_nodes.catalog_split import CatalogSplit
from headrace_nodes.demo import make_demo
from headrace_nodes.image_watermark import ImageWatermark
from headrace_nodes.manifests import node_types

FILES = sorted(path.relative_to(demo.ROOT) for path in demo.ROOT.rglob("*") if path.is_file())


@pytest.fixture
def document() -> dict[str, Any]:
    """The demo workflow."""
    return yaml.safe_load(demo.WORKFLOW.read_text())


def test_the_files_are_those_that_make_demo_makes(tmp_path: Path):
    make_demo.write(tmp_path)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()) == FILES
    for name in FILES:
        made, kept = (tmp_path / name).read_bytes(), (demo.ROOT / name).read_bytes()
        assert pixels(made) == pixels(kept) if name.suffix == ".png" else made == kept


def pixels(data: bytes) -> bytes:
    """A picture unpacked: two libraries may pack the same pixels differently."""
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


def test_it_is_small_enough_to_be_kept_with_the_code():
    assert sum((demo.ROOT / name).stat().st_size for name in FILES) < 1_000_000


def test_the_shopify_export_holds_the_same_products(tmp_path: Path):
    read = [
        run_node(CatalogRead, config={"uri": uri}, data_dir=tmp_path / name, data_roots=[demo.ROOT]).records
        for name, uri in (("own", demo.FEED), ("shopify", demo.SHOPIFY_FEED))
    ]
    assert len(read[0]) == len(read[1]) == 60
    for own, exported in zip(*read, strict=True):
        assert [own[name] for name in ("id", "title", "brand", "price", "images", "tags")] == [
            exported[name] for name in ("id", "title", "brand", "price", "images", "tags")
        ]


def test_the_workflow_is_valid_with_the_stock_node_types(document: dict[str, Any]):
    types = {node.type: NodeType(image=None, **node.manifest()) for node in node_types()}
    assert check(parse_workflow(document), types).canonical()["name"] == "brand-aggregator"


@pytest.fixture
def ended(
    document: dict[str, Any], tmp_path: Path, mapped: Callable[..., tuple[dict[str, Any], list[Outcome]]]
) -> dict[str, Outcome]:
    """What came of every node that is no map, the maps run between them."""
    nodes = document["nodes"]

    def run(node: Any, name: str, inputs: dict[str, Any], **config: Any) -> Outcome:
        settings = {**nodes[name].get("config", {}), **config}
        return run_node(node, config=settings, inputs=inputs, data_dir=tmp_path, data_roots=[demo.ROOT])

    read = run(CatalogRead, "read", {}, uri=demo.FEED)
    kept = run(CatalogFilter, "filter", {"read": read.metadata}, brand="")
    split = run(CatalogSplit, "split", {"filter": kept.metadata})
    parts = split.metadata["parts"]
    reprice, _ = mapped(CatalogReprice, parts, {**nodes["reprice"]["config"], "percent": 5})
    images, _ = mapped(
        ImageWatermark,
        parts,
        nodes["images"]["config"],
        data_roots=[demo.ROOT],
        tolerate=nodes["images"]["tolerate"],
    )
    merge = run(CatalogMerge, "merge", {"reprice": reprice, "images": images})
    publish = run(CatalogPublish, "publish", {"merge": merge.metadata})
    return {"merge": merge, "publish": publish}


def test_all_products_are_published_and_only_the_broken_picture_is_missing(ended: dict[str, Outcome]):
    assert (ended["publish"].metadata["count"], ended["publish"].metadata["failed"]) == (60, 0)
    plain = [record["id"] for record in ended["merge"].records if "image_watermarked" not in record]
    assert plain == [demo.BROKEN]
    assert ended["merge"].metadata["incomplete"] == 1


def test_every_price_is_five_percent_up_and_ends_with_99(ended: dict[str, Outcome]):
    assert {record["price"][-3:] for record in ended["merge"].records} == {".99"}
