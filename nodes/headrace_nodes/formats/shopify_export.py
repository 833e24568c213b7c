"""Products written as Shopify's product CSV: the columns of its export, in its order, one block of rows a
product.
"""

from __future__ import annotations

import csv
import io
from itertools import zip_longest
from typing import Any, Final, cast

from headrace_nodes.products import Product

# fmt: off (the header, in rows)
COLUMNS: Final = (
    "Handle",
    "Title",
    "Body (HTML)",
    "Vendor",
    "Product Category",
    "Type",
    "Tags",
    "Published",
    "Option1 Name",
    "Option1 Value",
    "Option1 Linked To",
    "Option2 Name",
    "Option2 Value",
    "Option2 Linked To",
    "Option3 Name",
    "Option3 Value",
    "Option3 Linked To",
    "Variant SKU",
    "Variant Grams",
    "Variant Inventory Tracker",
    "Variant Inventory Qty",
    "Variant Inventory Policy",
    "Variant Fulfillment Service",
    "Variant Price",
    "Variant Compare At Price",
    "Variant Requires Shipping",
    "Variant Taxable",
    "Variant Barcode",
    "Image Src",
    "Image Position",
    "Image Alt Text",
    "Gift Card",
    "SEO Title",
    "SEO Description",
    "Google Shopping / Google Product Category",
    "Google Shopping / Gender",
    "Google Shopping / Age Group",
    "Google Shopping / MPN",
    "Google Shopping / Condition",
    "Variant Image",
    "Variant Weight Unit",
    "Variant Tax Code",
    "Cost per item",
    "Status",
)
# fmt: on
_PLACE: Final = {name: place for place, name in enumerate(COLUMNS)}


def header() -> str:
    """The first line of the file, its end included."""
    return _text([{name: name for name in COLUMNS}])


def block(product: Product, images: list[str]) -> str:
    """The rows of one product: its variants beside its images, whichever are more."""
    variants = cast("list[dict[str, Any]]", product["variants"]) or [_only_variant(product)]
    names = _option_names(variants)
    handle = str(product.get("handle") or product["id"])
    rows: list[dict[str, str]] = []
    for position, (variant, image) in enumerate(zip_longest(variants, images), start=1):
        row = {"Handle": handle}
        if position == 1:
            row |= _product_cells(product, names)
        if variant is not None:
            row |= _variant_cells(variant, names)
        if image is not None:
            row |= _image_cells(product, image, position)
        rows.append(row)
    return _text(rows)


def _only_variant(product: Product) -> dict[str, Any]:
    kept = ("price", "compare_at_price", "gtin", "inventory", "grams", "sku")
    return {"options": {}} | {name: product[name] for name in kept if name in product}


def _option_names(variants: list[dict[str, Any]]) -> list[str]:
    names = {str(name): None for variant in variants for name in variant.get("options") or {}}
    return list(names)[:3]


def _product_cells(product: Product, names: list[str]) -> dict[str, str]:
    cells = {
        "Title": product["title"],
        "Body (HTML)": product.get("description"),
        "Vendor": product["brand"],
        "Product Category": product.get("category"),
        "Type": product.get("type"),
        "Tags": ", ".join(product.get("tags", [])),
        "Published": _truth(product.get("published", True)),
        "Gift Card": _truth(product.get("gift_card", False)),
        "SEO Title": product.get("seo_title"),
        "SEO Description": product.get("seo_description"),
        "Google Shopping / Gender": product.get("gender"),
        "Google Shopping / Age Group": product.get("age_group"),
        "Google Shopping / MPN": product.get("mpn"),
        "Google Shopping / Condition": product.get("condition"),
        "Status": product.get("status", "active"),
        "Option1 Name": "Title",
    }
    cells |= {f"Option{n} Name": name for n, name in enumerate(names, start=1)}
    return {name: str(cell) for name, cell in cells.items() if cell}


def _variant_cells(variant: dict[str, Any], names: list[str]) -> dict[str, str]:
    options = cast("dict[str, str]", variant.get("options") or {})
    values = {f"Option{n} Value": options.get(name) for n, name in enumerate(names, start=1)}
    barcode = variant.get("gtin")
    cells = {
        "Option1 Value": "Default Title",
        **values,
        "Variant SKU": variant.get("sku"),
        "Variant Grams": variant.get("grams"),
        "Variant Inventory Tracker": variant.get(
            "inventory_tracker", "shopify" if "inventory" in variant else None
        ),
        "Variant Inventory Qty": variant.get("inventory"),
        "Variant Inventory Policy": variant.get("inventory_policy", "deny"),
        "Variant Fulfillment Service": variant.get("fulfillment", "manual"),
        "Variant Price": variant["price"],
        "Variant Compare At Price": variant.get("compare_at_price"),
        "Variant Requires Shipping": variant.get("requires_shipping", "true"),
        "Variant Taxable": variant.get("taxable", "true"),
        "Variant Barcode": f"'{barcode}" if barcode else None,
        "Variant Image": variant.get("image"),
        "Variant Weight Unit": variant.get("weight_unit"),
    }
    return {name: str(cell) for name, cell in cells.items() if cell is not None and cell != ""}


def _image_cells(product: Product, image: str, position: int) -> dict[str, str]:
    alt = product.get("image_alts", {}).get(image, "")
    return {"Image Src": image, "Image Position": str(position), "Image Alt Text": alt}


def _text(rows: list[dict[str, str]]) -> str:
    lines: list[list[str]] = []
    for row in rows:
        line = [""] * len(COLUMNS)
        for name, cell in row.items():
            line[_PLACE[name]] = cell
        lines.append(line)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def _truth(value: object) -> str:
    return "true" if value else "false"
