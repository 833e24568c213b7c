"""catalog-reprice: exact new prices, in every currency."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.testing import run_node
from headrace_nodes.catalog_reprice import CatalogReprice


@pytest.fixture
def repriced(
    tmp_path: Path, catalog: Callable[..., str], product: Callable[..., dict[str, Any]]
) -> Callable[..., dict[str, Any]]:
    """One product, re-priced."""

    def run(config: dict[str, Any], **fields: Any) -> dict[str, Any]:
        uri = catalog(product(**fields))
        outcome = run_node(CatalogReprice, config=config, item={"uri": uri}, data_dir=tmp_path, tolerate=1)
        return outcome.records[0] if outcome.records else outcome.failed[0]

    return run


@pytest.mark.parametrize(
    ("config", "price", "currency", "after"),
    [
        ({"percent": 5}, "19.99", "EUR", "20.99"),
        ({"percent": -10}, "0.05", "EUR", "0.05"),
        ({"percent": 2.675}, "100.00", "EUR", "102.68"),
        ({"percent": 5}, "3900", "JPY", "4095"),
        ({"percent": 5}, "1.500", "KWD", "1.575"),
        ({"percent": 5, "rounding": "0.05"}, "7.10", "CHF", "7.45"),
        ({"percent": 5, "ends_with": ".99"}, "19.99", "EUR", "20.99"),
        ({"percent": 10, "ends_with": ".99"}, "19.99", "EUR", "21.99"),
        ({"percent": 5, "ends_with": ".99"}, "3900", "JPY", "4095"),
        ({"percent": 0, "ends_with": "9"}, "3904", "JPY", "3909"),
        ({"percent": -100}, "19.99", "EUR", "0.00"),
    ],
)
def test_a_price_is_changed_rounded_and_ended(
    repriced: Callable[..., dict[str, Any]], config: dict[str, Any], price: str, currency: str, after: str
):
    assert repriced(config, price=price, currency=currency)["price"] == after


def test_variants_are_repriced_and_the_crossed_out_price_stays(repriced: Callable[..., dict[str, Any]]):
    record = repriced({"percent": 10}, compare_at_price="15.00", variants=[{"id": "s", "price": "20.00"}])
    assert record["variants"] == [{"id": "s", "price": "22.00"}]
    assert record["compare_at_price"] == "15.00"
    assert record["changed"] == ["price", "variants"]


def test_a_step_that_its_currency_cannot_pay_fails_the_product(repriced: Callable[..., dict[str, Any]]):
    assert "cannot be paid in EUR" in repriced({"rounding": "0.025"}, price="1.00")["message"]


@pytest.mark.parametrize(
    "config", [{"percent": -101}, {"percent": "five"}, {"ends_with": "x"}, {"rounding": "."}]
)
def test_a_wrong_config_is_refused(tmp_path: Path, config: dict[str, Any]):
    outcome = run_node(CatalogReprice, config=config, item={"uri": "file:none"}, data_dir=tmp_path)
    assert outcome.exit_code == 42
    assert outcome.error is not None
    assert "invalid config" in outcome.error["message"]


def test_an_item_that_is_no_part_says_what_to_map_over(tmp_path: Path):
    outcome = run_node(CatalogReprice, item=5, data_dir=tmp_path)
    assert outcome.error is not None
    assert "catalog-split" in outcome.error["message"]
