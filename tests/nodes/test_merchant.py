"""The feed for Google Merchant Center, column by column."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_nodes.formats import merchant
from headrace_nodes.products import BadRecord


def product(**fields: Any) -> dict[str, Any]:
    """A product with all that Google asks for."""
    return {
        "id": "mug",
        "title": "Mug",
        "brand": "Alder",
        "price": "19.99",
        "currency": "EUR",
        "variants": [],
        "images": [],
    } | fields


def items(record: dict[str, Any], images: list[str] | None = None) -> list[dict[str, str]]:
    """The feed's lines for one product, as {column: cell}."""
    text = merchant.block(record, images or ["https://i.example/1.jpg"], "https://shop.example/mug")
    return [dict(zip(merchant.COLUMNS, line.split("\t"), strict=True)) for line in text.splitlines()]


def test_a_price_is_an_amount_and_its_currency():
    assert items(product())[0]["price"] == "19.99 EUR"


def test_a_price_below_its_compare_at_price_is_a_sale():
    item = items(product(compare_at_price="24.99"))[0]
    assert (item["price"], item["sale_price"]) == ("24.99 EUR", "19.99 EUR")


def test_every_variant_is_an_item_of_one_group():
    variants = [
        {"id": "mug-s", "options": {"Size": "S"}, "price": "19.99", "inventory": 2},
        {"id": "mug-l", "options": {"Size": "L"}, "price": "21.99", "inventory": 0},
    ]
    small, large = items(product(variants=variants))
    assert (small["id"], small["item_group_id"], small["size"], small["availability"]) == (
        "mug-s",
        "mug",
        "S",
        "in_stock",
    )
    assert (large["title"], large["price"], large["availability"]) == ("Mug - L", "21.99 EUR", "out_of_stock")


def test_html_becomes_plain_text_in_one_line():
    text = "<p>Soft &amp;\n<b>warm</b></p><script>alert(1)</script>\t<p>Yes</p>"
    assert items(product(description=text))[0]["description"] == "Soft & warm Yes"


def test_a_quote_in_a_cell_is_written_as_spreadsheets_do():
    assert '\t"A ""real"" mug"\t' in merchant.block(product(title='A "real" mug'), ["i"], "l")


def test_more_pictures_go_beside_the_first():
    item = items(product(), ["a", "b,c", "d"])[0]
    assert (item["image_link"], item["additional_image_link"]) == ("a", "b%2Cc,d")


def test_a_long_title_is_cut_where_google_cuts_it():
    assert len(items(product(title="x" * 300))[0]["title"]) == 150


@pytest.mark.parametrize("given", ["In Stock", "https://schema.org/InStock", "in_stock", ""])
def test_availability_is_understood_in_several_spellings(given: str):
    assert items(product(availability=given))[0]["availability"] == "in_stock"


@pytest.mark.parametrize("fields", [{"availability": "maybe"}, {"id": "x" * 51}])
def test_what_google_would_refuse_is_a_bad_record(fields: dict[str, Any]):
    with pytest.raises(BadRecord):
        items(product(**fields))


def test_without_link_or_picture_there_is_no_item():
    with pytest.raises(BadRecord, match="link"):
        merchant.block(product(), ["i"], "")
    with pytest.raises(BadRecord, match="image"):
        merchant.block(product(), [], "l")
