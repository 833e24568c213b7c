"""Foreign records become products: aliases, exact prices, and what is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from headrace_nodes.products import BadRecord, listed, load_json, mark_changed, normalise


def product(**fields: Any) -> dict[str, Any]:
    """The smallest foreign record that is a product."""
    return {"id": "1", "price": "5", **fields}


def test_a_normal_product_comes_out_as_it_went_in():
    once = normalise(product(title="Mug", brand="Alder", images=["https://i.example/1.jpg"]), "EUR")
    assert normalise(once, "USD") == once


def test_other_names_for_the_same_fields_are_known():
    found = normalise({"Product ID": 7, "Name": "Mug", "Vendor": "Alder", "Regular Price": "5.5 EUR"}, "USD")
    assert (found["id"], found["title"], found["brand"]) == ("7", "Mug", "Alder")
    assert (found["price"], found["currency"]) == ("5.50", "EUR")


def test_a_number_in_json_is_never_rounded_by_a_float():
    raw = load_json(b'{"id": "1", "price": 1234567890123.45}')
    assert raw["price"] == Decimal("1234567890123.45")
    assert normalise(raw, "EUR")["price"] == "1234567890123.45"


def test_a_binary_float_is_refused_where_money_is_meant():
    with pytest.raises(BadRecord):
        normalise(product(price=19.99), "EUR")


def test_a_price_with_more_decimals_than_its_currency_is_refused():
    with pytest.raises(BadRecord, match="more decimals than JPY"):
        normalise(product(price="5.50", currency="JPY"), "EUR")


@pytest.mark.parametrize(
    "raw", [{"price": "5"}, {"id": "1"}, {"id": "1", "price": True}, {"id": "", "price": "5"}]
)
def test_without_id_or_price_there_is_no_product(raw: dict[str, Any]):
    with pytest.raises(BadRecord):
        normalise(raw, "EUR")


def test_a_variant_in_another_currency_is_refused():
    with pytest.raises(BadRecord, match="a price in USD"):
        normalise(product(variants=[{"id": "a", "price": "5 USD"}]), "EUR")


def test_unknown_fields_are_kept():
    assert normalise(product(**{"Energy Class": "A"}), "EUR")["energy_class"] == "A"


def test_the_commas_of_a_uri_part_nothing():
    assert listed("https://i.example/w_200,h_200/1.jpg, https://i.example/2.jpg") == [
        "https://i.example/w_200,h_200/1.jpg",
        "https://i.example/2.jpg",
    ]


@pytest.mark.parametrize("line", [b"{", b"[]", b"5", b'{"a": NaN}', b"\xff"])
def test_a_line_that_is_no_object_is_a_bad_record(line: bytes):
    with pytest.raises(BadRecord):
        load_json(line)


def test_changed_fields_are_noted_once():
    record = product()
    mark_changed(record, "price")
    mark_changed(record, "images", "price")
    assert record["changed"] == ["price", "images"]
