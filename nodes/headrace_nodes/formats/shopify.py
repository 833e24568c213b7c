"""Shopify's product CSV, as its admin exports it, read: the rows of one product become one product.

A product spans rows with the same Handle. The first row has Title and the other product columns; every row
may hold a variant (it has an option value, a SKU or a price), an image (it has Image Src), or both. Both
column sets are known: the export's ("Handle", "Variant Price", ...) and the newer template's ("URL handle",
"Price", ...).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from headrace_nodes.formats.lines import FormatError
from headrace_nodes.formats.table import Row
from headrace_nodes.products import BadRecord, Product, price_text, unique

MAX_ROWS: Final = 10_000
"""Rows of one product: Shopify allows 2,048 variants and 250 images; more is a broken file."""

_NEWER: Final = {
    "URL handle": "Handle",
    "Description": "Body (HTML)",
    "Product category": "Product Category",
    "Published on online store": "Published",
    "SKU": "Variant SKU",
    "Barcode": "Variant Barcode",
    "Price": "Variant Price",
    "Compare-at price": "Variant Compare At Price",
    "Inventory tracker": "Variant Inventory Tracker",
    "Inventory quantity": "Variant Inventory Qty",
    "Weight value (grams)": "Variant Grams",
    "Weight unit for display": "Variant Weight Unit",
    "Product image URL": "Image Src",
    "Image position": "Image Position",
    "Image alt text": "Image Alt Text",
    "Variant image URL": "Variant Image",
    "Gift card": "Gift Card",
    "SEO title": "SEO Title",
    "SEO description": "SEO Description",
    **{f"Option{n} name": f"Option{n} Name" for n in (1, 2, 3)},
    **{f"Option{n} value": f"Option{n} Value" for n in (1, 2, 3)},
}
_VARIANT_SIGNS: Final = ("Option1 Value", "Variant SKU", "Variant Price")


def grouped(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows of one product after the other, in the file's order. Raises FormatError where it is no product
    export.

    Rows of one product stand together, as Shopify writes them; one product is held in memory at a time.
    """
    group: list[Row] = []
    handle = ""
    for raw in rows:
        row = {_NEWER.get(name, name): cell for name, cell in raw.items()}
        if "Handle" not in row:
            raise FormatError("no column Handle: this is not a Shopify product export")
        key = row["Handle"].strip()
        if group and key and key != handle:
            yield group
            group = []
        handle = key or handle
        group.append(row)
        if len(group) > MAX_ROWS:
            raise FormatError(f"more than {MAX_ROWS} rows with the handle {handle[:80]!r}")
    if group:
        yield group


def product(rows: list[Row], currency: str) -> Product:
    """The product of the rows of one handle. Raises BadRecord when it has no handle, title or price."""
    first = rows[0]
    handle = first["Handle"].strip()
    if not handle:
        raise BadRecord("no Handle")
    if not first.get("Title", "").strip():
        raise BadRecord(
            f"handle {handle[:80]!r}: its first row has no Title; rows of a product must stand together"
        )
    variants = _variants(rows, handle, currency)
    if not variants:
        raise BadRecord(f"handle {handle[:80]!r} has no variant with a price")
    record: Product = {
        "id": handle,
        "title": first["Title"].strip(),
        "brand": first.get("Vendor", "").strip(),
        "price": variants[0]["price"],
        "currency": currency,
        "images": _images(rows),
        "variants": variants,
        "handle": handle,
    }
    record.update(_product_fields(first))
    if "compare_at_price" in variants[0]:
        record["compare_at_price"] = variants[0]["compare_at_price"]
    record["availability"] = "in_stock" if any(map(_in_stock, variants)) else "out_of_stock"
    if alts := _alts(rows):
        record["image_alts"] = alts
    return record


def _product_fields(first: Row) -> dict[str, Any]:
    names = {
        "Body (HTML)": "description",
        "Type": "type",
        "Product Category": "category",
        "SEO Title": "seo_title",
        "SEO Description": "seo_description",
        "Google Shopping / MPN": "mpn",
        "Google Shopping / Condition": "condition",
        "Google Shopping / Gender": "gender",
        "Google Shopping / Age Group": "age_group",
    }
    found: dict[str, Any] = {
        ours: cell for theirs, ours in names.items() if (cell := first.get(theirs, "").strip())
    }
    if tags := [tag for part in first.get("Tags", "").split(",") if (tag := part.strip())]:
        found["tags"] = tags
    if published := first.get("Published", "").strip():
        found["published"] = _truth(published)
    if gift := first.get("Gift Card", "").strip():
        found["gift_card"] = _truth(gift)
    if status := first.get("Status", "").strip():
        found["status"] = status.lower()
    return found


def _variants(rows: list[Row], handle: str, currency: str) -> list[dict[str, Any]]:
    names = [rows[0].get(f"Option{n} Name", "").strip() for n in (1, 2, 3)]
    return [
        _variant(row, names, f"{handle}-{position}", currency)
        for position, row in enumerate(
            (r for r in rows if any(r.get(s, "").strip() for s in _VARIANT_SIGNS)), start=1
        )
    ]


def _variant(row: Row, names: list[str], fallback: str, currency: str) -> dict[str, Any]:
    sku = _bare(row.get("Variant SKU", ""))
    options = {
        name: value
        for n, name in enumerate(names, start=1)
        if (value := row.get(f"Option{n} Value", "").strip())
        and name
        and (name, value) != ("Title", "Default Title")
    }
    price = row.get("Variant Price", "").strip()
    if not price:
        raise BadRecord(f"variant {(sku or fallback)[:80]!r} has no Variant Price")
    variant: dict[str, Any] = {
        "id": sku or fallback,
        "sku": sku,
        "options": options,
        "price": price_text(price, currency),
    }
    if compare := row.get("Variant Compare At Price", "").strip():
        variant["compare_at_price"] = price_text(compare, currency)
    if barcode := _bare(row.get("Variant Barcode", "")):
        variant["gtin"] = barcode
    if grams := row.get("Variant Grams", "").strip():
        variant["grams"] = grams
    if (quantity := _whole(row.get("Variant Inventory Qty", ""))) is not None:
        variant["inventory"] = quantity
    for theirs, ours in (
        ("Variant Image", "image"),
        ("Variant Inventory Tracker", "inventory_tracker"),
        ("Variant Inventory Policy", "inventory_policy"),
        ("Variant Fulfillment Service", "fulfillment"),
        ("Variant Requires Shipping", "requires_shipping"),
        ("Variant Taxable", "taxable"),
        ("Variant Weight Unit", "weight_unit"),
    ):
        if cell := row.get(theirs, "").strip():
            variant[ours] = cell
    return variant


def _images(rows: list[Row]) -> list[str]:
    return unique(source for _, source, _ in _placed(rows))


def _alts(rows: list[Row]) -> dict[str, str]:
    return {source: alt for _, source, alt in _placed(rows) if alt}


def _placed(rows: list[Row]) -> list[tuple[int, str, str]]:
    """(position, source, alt text) of every image, by Image Position; images without one keep their place
    after it.
    """
    placed = [
        (_whole(row.get("Image Position", "")) or MAX_ROWS, source, row.get("Image Alt Text", "").strip())
        for row in rows
        if (source := row.get("Image Src", "").strip())
    ]
    return sorted(placed, key=lambda image: image[0])


def _in_stock(variant: dict[str, Any]) -> bool:
    """A variant that nobody counts, or that sells on when it runs out, is in stock."""
    untracked = "inventory" not in variant or not variant.get("inventory_tracker")
    return untracked or variant["inventory"] > 0 or variant.get("inventory_policy") == "continue"


def _bare(cell: str) -> str:
    """A code without the apostrophe that Shopify puts before it, so that spreadsheets keep its zeros."""
    return cell.strip().removeprefix("'")


def _whole(cell: str) -> int | None:
    text = cell.strip()
    try:
        return int(text) if text else None
    except ValueError:
        return None


def _truth(cell: str) -> bool:
    return cell.lower() == "true"
