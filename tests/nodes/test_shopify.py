"""Shopify's product CSV: one product over many rows, read as its admin exports it, written the same way."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from headrace_nodes.formats import shopify, shopify_export, table
from headrace_nodes.formats.lines import FormatError
from headrace_nodes.products import BadRecord

HEADER = (
    "Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,Option1 Value,Option2 Name,"
    "Option2 Value,Variant SKU,Variant Grams,Variant Inventory Tracker,Variant Inventory Qty,"
    "Variant Inventory Policy,Variant Price,Variant Compare At Price,Variant Barcode,Image Src,"
    "Image Position,Image Alt Text,Gift Card,SEO Title,Status"
)
COLUMNS = HEADER.split(",")


def export(*rows: dict[str, str]) -> bytes:
    """A file with these rows, a byte order mark before them."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerows([COLUMNS, *([row.get(name, "") for name in COLUMNS] for row in rows)])
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def read(data: bytes) -> list[dict[str, Any]]:
    """All products of a file."""
    return [shopify.product(rows, "EUR") for rows in shopify.grouped(table.rows([data]))]


SHIRT = {
    "Handle": "shirt",
    "Title": "Shirt",
    "Body (HTML)": '<p>Soft,\n"very" soft</p>\n<p>Really</p>',
    "Vendor": "Alder",
    "Tags": "summer, linen",
    "Published": "true",
    "Option1 Name": "Size",
    "Option1 Value": "S",
    "Option2 Name": "Colour",
    "Option2 Value": "Sand",
    "Variant SKU": "'007",
    "Variant Grams": "200.0",
    "Variant Inventory Tracker": "shopify",
    "Variant Inventory Qty": "3",
    "Variant Inventory Policy": "deny",
    "Variant Price": "19.90",
    "Variant Compare At Price": "24.9",
    "Variant Barcode": "'0400638133393",
    "Image Src": "https://cdn.example/back.jpg",
    "Image Position": "2",
    "Gift Card": "false",
    "Status": "active",
}
LARGE = {
    "Handle": "shirt",
    "Option1 Value": "L",
    "Option2 Value": "Sand",
    "Variant SKU": "008",
    "Variant Price": "21.90",
    "Image Src": "https://cdn.example/front.jpg",
    "Image Position": "1",
    "Image Alt Text": "From the front",
}
PICTURE = {"Handle": "shirt", "Image Src": "https://cdn.example/worn.jpg", "Image Position": "3"}
MUG = {
    "Handle": "mug",
    "Title": "Mug",
    "Option1 Name": "Title",
    "Option1 Value": "Default Title",
    "Variant Price": "5.00",
}


def test_variant_rows_and_picture_rows_of_a_handle_are_one_product():
    products = read(export(SHIRT, LARGE, PICTURE, MUG))
    assert [product["id"] for product in products] == ["shirt", "mug"]
    shirt = products[0]
    assert [variant["options"] for variant in shirt["variants"]] == [
        {"Size": "S", "Colour": "Sand"},
        {"Size": "L", "Colour": "Sand"},
    ]
    assert (shirt["price"], shirt["compare_at_price"]) == ("19.90", "24.90")


def test_pictures_stand_in_the_order_of_their_positions():
    names = [uri.rsplit("/", 1)[1] for uri in read(export(SHIRT, LARGE, PICTURE))[0]["images"]]
    assert names == ["front.jpg", "back.jpg", "worn.jpg"]


def test_a_body_of_many_lines_with_quotes_stays_whole():
    assert read(export(SHIRT))[0]["description"] == SHIRT["Body (HTML)"]


def test_the_apostrophe_before_a_code_is_no_part_of_it():
    variant = read(export(SHIRT))[0]["variants"][0]
    assert (variant["sku"], variant["gtin"]) == ("007", "0400638133393")


def test_a_product_without_options_has_one_variant_without_options():
    assert read(export(MUG))[0]["variants"] == [{"id": "mug-1", "sku": "", "options": {}, "price": "5.00"}]


def test_stock_decides_about_availability():
    assert read(export(SHIRT))[0]["availability"] == "in_stock"
    sold = SHIRT | {"Variant Inventory Qty": "0"}
    assert read(export(sold))[0]["availability"] == "out_of_stock"
    assert read(export(sold | {"Variant Inventory Policy": "continue"}))[0]["availability"] == "in_stock"


def test_rows_that_come_back_to_a_handle_later_are_a_bad_record():
    groups = list(shopify.grouped(table.rows([export(SHIRT, MUG, LARGE)])))
    with pytest.raises(BadRecord, match="must stand together"):
        shopify.product(groups[2], "EUR")


@pytest.mark.parametrize(
    "row", [{"Handle": "x", "Title": "X"}, MUG | {"Variant Price": "cheap"}, MUG | {"Title": ""}]
)
def test_a_product_without_title_or_price_is_a_bad_record(row: dict[str, str]):
    with pytest.raises(BadRecord):
        read(export(row))


def test_another_csv_is_no_export():
    with pytest.raises(FormatError, match="Handle"):
        list(shopify.grouped(table.rows([b"id,title\n1,x\n"])))


def test_the_newer_template_is_read_like_the_export():
    data = b"Title,URL handle,Vendor,Status,SKU,Option1 name,Option1 value,Price,Product image URL\n"
    data += b"Mug,mug,Alder,Active,M-1,Size,Big,5.00,https://cdn.example/mug.jpg\n"
    mug = read(data)[0]
    assert (mug["id"], mug["brand"], mug["status"], mug["price"]) == ("mug", "Alder", "active", "5.00")
    assert mug["variants"][0]["options"] == {"Size": "Big"}


def test_what_is_written_is_read_back_as_the_same_product():
    products = read(export(SHIRT, LARGE, PICTURE, MUG))
    written = shopify_export.header() + "".join(shopify_export.block(p, p["images"]) for p in products)
    again = read(written.encode())
    volatile = {"availability", "variants"}
    for before, after in zip(products, again, strict=True):
        assert after | dict.fromkeys(volatile) == {
            "gift_card": False,
            "published": True,
            "status": "active",
        } | (before | dict.fromkeys(volatile))
        assert [v["price"] for v in after["variants"]] == [v["price"] for v in before["variants"]]
        assert [v["options"] for v in after["variants"]] == [v["options"] for v in before["variants"]]


def test_every_row_has_every_column_of_the_export():
    text = shopify_export.header() + shopify_export.block(
        read(export(SHIRT, LARGE, PICTURE))[0], ["a", "b", "c"]
    )
    rows = list(csv.reader(io.StringIO(text)))
    assert {len(row) for row in rows} == {len(shopify_export.COLUMNS)}
    assert [row[0] for row in rows] == ["Handle", "shirt", "shirt", "shirt"]
