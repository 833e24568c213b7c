"""catalog-filter: what is kept, what is left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.testing import run_node
from headrace_nodes.catalog_filter import CatalogFilter


@pytest.fixture
def kept(
    tmp_path: Path, catalog: Callable[..., str], product: Callable[..., dict[str, Any]]
) -> Callable[..., list[str]]:
    """The ids that are kept of four products."""
    uri = catalog(
        product("mug", price="9.99", tags=["Kitchen"]),
        product("cup", price="10.00", brand="Birk", inventory=0),
        product("tea", price="390", currency="JPY", brand="BIRK"),
        product("pot", price="100.00", variants=[{"inventory": 0}, {"inventory": 2}]),
    )

    def run(**config: Any) -> list[str]:
        outcome = run_node(CatalogFilter, config=config, inputs={"read": {"uri": uri}}, data_dir=tmp_path)
        assert outcome.metadata["count"] + outcome.metadata["dropped"] == 4
        return [record["id"] for record in outcome.records]

    return run


def test_without_conditions_everything_is_kept(kept: Callable[..., list[str]]):
    assert kept() == ["mug", "cup", "tea", "pot"]


def test_the_capitals_of_a_brand_do_not_matter(kept: Callable[..., list[str]]):
    assert kept(brand="birk ") == ["cup", "tea"]


def test_prices_are_compared_exactly_and_both_ends_are_in(kept: Callable[..., list[str]]):
    assert kept(min_price=9.99, max_price=10, currency="EUR") == ["mug", "cup"]


def test_tags_and_titles_are_found_whatever_their_capitals(kept: Callable[..., list[str]]):
    assert kept(tag="kitchen") == ["mug"]
    assert kept(title_contains="PO") == ["pot"]


def test_a_product_is_in_stock_when_one_of_its_variants_is(kept: Callable[..., list[str]]):
    assert kept(in_stock=True) == ["mug", "tea", "pot"]


def test_several_upstreams_with_data_must_be_told_apart(tmp_path: Path, catalog: Callable[..., str]):
    inputs = {
        "a": {"uri": catalog(name="a.ndjson")},
        "b": {"uri": catalog(name="b.ndjson")},
        "c": {"other": 1},
    }
    unclear = run_node(CatalogFilter, inputs=inputs, data_dir=tmp_path)
    assert unclear.exit_code == 42
    assert unclear.error is not None
    assert "a, b" in unclear.error["message"]
    assert run_node(CatalogFilter, config={"from": "b"}, inputs=inputs, data_dir=tmp_path).exit_code == 0


@pytest.mark.parametrize("inputs", [{}, {"a": None}, {"a": {"count": 1}}])
def test_without_any_data_before_it_the_node_fails_for_good(tmp_path: Path, inputs: dict[str, Any]):
    assert run_node(CatalogFilter, inputs=inputs, data_dir=tmp_path).exit_code == 42


@pytest.mark.parametrize(
    "config", [{"brnd": "x"}, {"min_price": -1}, {"min_price": "NaN"}, {"currency": "euro"}]
)
def test_a_wrong_config_is_refused(tmp_path: Path, config: dict[str, Any]):
    assert run_node(CatalogFilter, config=config, inputs={}, data_dir=tmp_path).exit_code == 42
