"""Products written as a tab-separated feed for Google Merchant Center: one line per item (a variant is an
item).
"""

from __future__ import annotations

import csv
import io
import re
from html import unescape
from html.parser import HTMLParser
from typing import Any, Final, cast

from headrace_nodes.products import BadRecord, Product

COLUMNS: Final = (
    "id",
    "title",
    "description",
    "link",
    "image_link",
    "additional_image_link",
    "availability",
    "price",
    "sale_price",
    "brand",
    "gtin",
    "mpn",
    "condition",
    "item_group_id",
    "google_product_category",
    "product_type",
    "color",
    "size",
)
_LIMITS: Final = {"id": 50, "title": 150, "description": 5000, "brand": 70, "mpn": 70, "item_group_id": 50}
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_HIDING = re.compile(r"<(?:script|style|!)", re.IGNORECASE)
"""Tags whose content is no text, and comments."""
_AVAILABILITY: Final = {
    "instock": "in_stock",
    "outofstock": "out_of_stock",
    "soldout": "out_of_stock",
    "preorder": "preorder",
    "backorder": "backorder",
}


def header() -> str:
    """The first line of the feed, its end included."""
    return _text([list(COLUMNS)])


def block(product: Product, images: list[str], link: str) -> str:
    """The lines of one product: one, or one per variant under the same item_group_id.

    Raises BadRecord when an attribute that Google requires (link, image) is missing, or an id is longer than
    50.
    """
    identity = str(product["id"])
    if not link:
        raise BadRecord(f"product {identity[:80]!r} has no link: give the products a link, or set link_base")
    if not images:
        raise BadRecord(f"product {identity[:80]!r} has no image")
    common = {
        "title": product["title"],
        "description": plain_text(str(product.get("description") or product["title"])),
        "link": link,
        "image_link": images[0],
        "additional_image_link": ",".join(uri.replace(",", "%2C") for uri in images[1:11]),
        "brand": product["brand"],
        "condition": product.get("condition", "new"),
        "mpn": product.get("mpn", ""),
        "google_product_category": product.get("category", ""),
        "product_type": product.get("type", ""),
    }
    variants = cast("list[dict[str, Any]]", product["variants"])
    if len(variants) < 2:
        only = {**product, **variants[0], "id": identity} if variants else product
        return _text([_line(common | _offer(only, product))])
    return _text([_line(common | _item(variant, product)) for variant in variants])


def _item(variant: dict[str, Any], product: Product) -> dict[str, Any]:
    options = cast("dict[str, str]", variant.get("options") or {})
    named = {name.lower(): value for name, value in options.items()}
    title = " - ".join([product["title"], *options.values()]) if options else product["title"]
    cells = _offer(variant, product) | {
        "title": title,
        "item_group_id": product["id"],
        "color": named.get("color", named.get("colour", "")),
        "size": named.get("size", ""),
    }
    return cells | ({"image_link": variant["image"]} if variant.get("image") else {})


def _offer(item: dict[str, Any], product: Product) -> dict[str, Any]:
    """Price, availability and codes; a price below its compare-at price is a sale."""
    currency = product["currency"]
    price, before = item["price"], item.get("compare_at_price")
    sale = before is not None and _cents(before) > _cents(price)
    return {
        "id": item["id"],
        "price": f"{before if sale else price} {currency}",
        "sale_price": f"{price} {currency}" if sale else "",
        "availability": _availability(item, product),
        "gtin": item.get("gtin", ""),
    }


def _cents(text: str) -> int:
    """Two prices of one currency compare as the integers of their digits: both have the same decimals."""
    return int(text.replace(".", ""))


def _availability(item: dict[str, Any], product: Product) -> str:
    if "inventory" in item:
        sells_on = item.get("inventory_policy") == "continue"
        return "in_stock" if item["inventory"] > 0 or sells_on else "out_of_stock"
    given = str(product.get("availability") or "in_stock")
    word = given.rsplit("/", 1)[-1].lower().replace("_", "").replace(" ", "")
    if word not in _AVAILABILITY:
        raise BadRecord(f"availability {given[:40]!r} is none that Google knows")
    return _AVAILABILITY[word]


def _line(cells: dict[str, Any]) -> list[str]:
    line: list[str] = []
    for column in COLUMNS:
        cell = cells.get(column) or ""
        text = " ".join(str(cell).split())
        limit = _LIMITS.get(column)
        if limit is not None and len(text) > limit:
            if column in ("id", "item_group_id"):
                raise BadRecord(f"{column} {text[:60]!r} is longer than {limit} characters")
            text = text[:limit].rstrip()
        line.append(text)
    return line


def _text(lines: list[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter="\t", lineterminator="\n").writerows(lines)
    return out.getvalue()


class _Words(HTMLParser):
    """Collects the text of HTML; what script and style hold is no text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in ("script", "style")
        self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style") and self._silent:
            self._silent -= 1
        self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)


def plain_text(html: str) -> str:
    """HTML as one line of plain text."""
    if _HIDING.search(html):
        parser = _Words()
        parser.feed(html)
        parser.close()
        html = "".join(parser.parts)
    elif "<" in html or "&" in html:
        html = unescape(_TAG.sub(" ", html))
    return " ".join(html.split())
