"""catalog-merge: branches of a split, together again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.testing import Outcome, run_node
from headrace_nodes.catalog_merge import CatalogMerge


@pytest.fixture
def merge(
    tmp_path: Path, catalog: Callable[..., str], product: Callable[..., dict[str, Any]]
) -> Callable[..., Outcome]:
    """Merges a re-priced branch with a watermarked one: lists of ids."""

    def run(priced: list[str], stamped: list[str], *, tolerate: float = 0, **config: Any) -> Outcome:
        dear = (product(name, price="11.00", changed=["price"]) for name in priced)
        seen = (product(name, image_watermarked=["w"], changed=["image_watermarked"]) for name in stamped)
        inputs = {
            "reprice": {"uri": catalog(*dear, name="reprice.ndjson")},
            "images": {"uri": catalog(*seen, name="images.ndjson")},
        }
        return run_node(CatalogMerge, config=config, inputs=inputs, data_dir=tmp_path, tolerate=tolerate)

    return run


def test_a_product_has_the_new_price_and_the_new_pictures(merge: Callable[..., Outcome]):
    record = merge(["mug"], ["mug"]).records[0]
    assert (record["price"], record["image_watermarked"]) == ("11.00", ["w"])


def test_a_product_that_failed_in_a_branch_is_kept_as_the_other_has_it(merge: Callable[..., Outcome]):
    outcome = merge(["a", "b", "c"], ["a", "c"])
    assert [record["id"] for record in outcome.records] == ["a", "b", "c"]
    assert "image_watermarked" not in outcome.records[1]
    assert (outcome.metadata["count"], outcome.metadata["incomplete"]) == (3, 1)


def test_such_a_product_can_be_dropped_instead(merge: Callable[..., Outcome]):
    outcome = merge(["a", "b", "c"], ["a", "c"], missing="drop")
    assert [record["id"] for record in outcome.records] == ["a", "c"]
    assert (outcome.metadata["count"], outcome.metadata["incomplete"]) == (2, 1)


def test_another_order_changes_nothing_about_what_belongs_together(merge: Callable[..., Outcome]):
    outcome = merge(["a", "b", "c"], ["c", "a", "b"])
    assert sorted(record["id"] for record in outcome.records) == ["a", "b", "c"]
    assert outcome.metadata["incomplete"] == 0


def test_a_field_may_match_other_than_the_id(merge: Callable[..., Outcome]):
    assert merge(["a"], ["a"], on="title").metadata["count"] == 1
    refused = merge(["a"], ["a"], on="sku")
    assert refused.exit_code == 42
    assert refused.error is not None
    assert "'sku'" in refused.error["message"]


def test_branches_that_contradict_each_other_fail_the_product_and_name_it(
    tmp_path: Path, catalog: Callable[..., str], product: Callable[..., dict[str, Any]]
):
    inputs = {
        "a": {"uri": catalog(product(price="1.00"), name="a.ndjson")},
        "b": {"uri": catalog(product(price="2.00"), name="b.ndjson")},
    }
    outcome = run_node(CatalogMerge, inputs=inputs, data_dir=tmp_path, tolerate=1)
    assert outcome.failed[0]["key"] == "mug"
    assert "set fields" in outcome.failed[0]["message"]
    mended = run_node(
        CatalogMerge, config={"fields": {"price": "b"}}, inputs=inputs, data_dir=tmp_path, run_id="again"
    )
    assert mended.records[0]["price"] == "2.00"


def test_the_items_of_maps_are_read_in_order_and_failed_ones_left_out(
    tmp_path: Path, catalog: Callable[..., str], product: Callable[..., dict[str, Any]]
):
    parts = [{"uri": catalog(product(name), name=name)} for name in ("a", "b", "c")]
    whole = {"count": 3, "succeeded": 3, "failed": 0, "items": parts}
    holed = {"count": 3, "succeeded": 2, "failed": 1, "items": [parts[0], None, parts[2]]}
    outcome = run_node(CatalogMerge, inputs={"one": whole, "two": holed}, data_dir=tmp_path)
    assert [record["id"] for record in outcome.records] == ["a", "b", "c"]
    assert outcome.metadata["incomplete"] == 1


def test_items_that_come_by_reference_are_merged_alike(
    tmp_path: Path, catalog: Callable[..., str], product: Callable[..., dict[str, Any]]
):
    parts = [{"uri": catalog(product(name), name=name)} for name in ("a", "b")]
    counts = {"count": 2, "succeeded": 2, "failed": 0}
    outcome = run_node(
        CatalogMerge,
        inputs={"one": {**counts, "items": {"$href": "/items"}}, "two": {**counts, "items": parts}},
        references={"/items": {"items": parts, "next_cursor": None}},
        data_dir=tmp_path,
    )
    assert (outcome.metadata["count"], outcome.metadata["incomplete"]) == (2, 0)


def test_a_skipped_branch_is_no_branch(
    tmp_path: Path, catalog: Callable[..., str], product: Callable[..., Any]
):
    inputs = {"a": {"uri": catalog(product())}, "b": None}
    assert run_node(CatalogMerge, inputs=inputs, data_dir=tmp_path).metadata["incomplete"] == 0


def test_a_branch_that_is_not_there_is_a_mistake(merge: Callable[..., Outcome]):
    assert merge(["a"], ["a"], inputs=["reprice", "pictures"]).exit_code == 42
