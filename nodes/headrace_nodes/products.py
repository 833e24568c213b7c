"""The normalised product record that every stock node reads and writes, and how foreign records become one.

    {"id", "title", "brand", "price": "19.99", "currency": "EUR", "images": [uri, ...], "variants": [...],
     "handle"?, "description"?, "type"?, "category"?, "tags"?: [text], "link"?, "availability"?,
     "condition"?, "gtin"?, "mpn"?, "compare_at_price"?, "status"?, ...}
    variant: {"id", "sku", "options": {name: value}, "price", "compare_at_price"?, "inventory"?: int, ...}

Prices are decimal text in the product's currency. Fields nobody here knows are kept as they came. `changed`
names the fields that nodes of this run have changed on purpose: catalog-merge takes such a field from the
side that changed it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, cast

import orjson

from headrace.errors import MalformedRecord
from headrace_nodes import money

Product = dict[str, Any]

CHANGED = "changed"

_ALIASES: dict[str, tuple[str, ...]] = {
    "id": ("id", "product_id", "sku", "handle"),
    "title": ("title", "name", "product_name"),
    "brand": ("brand", "vendor", "manufacturer"),
    "price": ("price", "regular_price"),
    "currency": ("currency", "price_currency"),
    "images": ("images", "image", "image_link", "image_url", "image_src", "additional_image_link"),
    "description": ("description", "body_html", "body"),
    "type": ("type", "product_type"),
    "category": ("category", "google_product_category"),
    "link": ("link", "url"),
    "gtin": ("gtin", "ean", "barcode"),
}
_FIELD_OF = {alias: field for field, aliases in _ALIASES.items() for alias in aliases}
_GAP = re.compile(r"[|,]")
_URI_GAP = re.compile(r"\||,\s+|,(?=(?:https?|file|s3):)")
_KEPT_AS_WELL = frozenset({"sku", "handle"})
_LISTS = frozenset({"images", "tags"})


class BadRecord(MalformedRecord):
    """One record of a catalog cannot be a product: it goes to the ledger of failed records."""


def load_json(line: bytes) -> dict[str, Any]:
    """One JSON object, its numbers exact: those with a decimal point come as Decimal, never as float."""
    try:
        value: object = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise BadRecord(f"not JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(value, dict):
        raise BadRecord(f"a {type(value).__name__} where a product object is expected")
    record = cast("dict[str, Any]", value)
    if _has_float(record):
        return cast("dict[str, Any]", json.loads(line, parse_float=Decimal))
    return record


def _has_float(value: object) -> bool:
    if isinstance(value, float):
        return True
    if isinstance(value, dict):
        return any(_has_float(inner) for inner in cast("dict[str, object]", value).values())
    if isinstance(value, list):
        return any(_has_float(inner) for inner in cast("list[object]", value))
    return False


def normalise(raw: Mapping[str, Any], currency: str) -> Product:
    """The product that a foreign record (JSON object or CSV row) stands for.

    Names are matched without regard to case, spaces and hyphens, by the aliases above. Raises BadRecord when
    there is no id, or a price that is no price.
    """
    if _is_normal(raw):
        return dict(raw)
    found: dict[str, list[Any]] = {}
    rest: dict[str, Any] = {}
    for name, value in raw.items():
        if value is None or value == "":
            continue
        key = name.strip().lower().replace(" ", "_").replace("-", "_")
        field = _FIELD_OF.get(key)
        if field is None or key in _KEPT_AS_WELL:
            rest[key] = value
        if field is not None:
            found.setdefault(field, []).append((_ALIASES[field].index(key), value))
    return _assemble(found, rest, currency)


def _is_normal(raw: Mapping[str, Any]) -> bool:
    """Whether `raw` already is a product as this module writes them."""
    try:
        amount, code = raw["price"], raw["currency"]
        images, variants = raw["images"], raw["variants"]
        if not (
            type(amount) is str and type(raw["id"]) is str and type(images) is list and type(variants) is list
        ):
            return False
        if type(raw["title"]) is not str or type(raw["brand"]) is not str or None in raw.values():
            return False
        return price_text(amount, code) == amount and not variants and all(type(uri) is str for uri in images)
    except (KeyError, BadRecord):
        return False


def _assemble(found: dict[str, list[Any]], rest: dict[str, Any], currency: str) -> Product:
    def first(field: str) -> Any:
        candidates = found.get(field)
        return min(candidates, key=lambda pair: pair[0])[1] if candidates else None

    identity = first("id")
    if identity is None:
        raise BadRecord("no id (id, product_id, sku or handle)")
    if first("price") is None:
        raise BadRecord(f"product {str(identity)[:80]!r} has no price")
    code = str(first("currency") or currency).upper()
    amount, code = parse_price(first("price"), code)
    product: Product = {
        "id": str(identity),
        "title": str(first("title") or ""),
        "brand": str(first("brand") or ""),
        "price": amount,
        "currency": code,
        "images": unique(
            uri for _, value in sorted(found.get("images", []), key=_rank) for uri in listed(value)
        ),
        "variants": [_variant(entry, code) for entry in _objects(rest.pop("variants", []))],
    }
    for field in ("description", "type", "category", "link", "gtin"):
        if field in found:
            product[field] = str(first(field))
    for name, value in rest.items():
        product.setdefault(name, _plain(name, value, code))
    return product


def _rank(candidate: tuple[int, Any]) -> int:
    return candidate[0]


def _plain(name: str, value: Any, currency: str) -> Any:
    if name in ("compare_at_price", "sale_price"):
        return parse_price(value, currency)[0]
    if name in _LISTS:
        return listed(value)
    return _jsonable(value)


def _jsonable(value: Any) -> Any:
    """Decimals of fields that are not money stay exact as text."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return {name: _jsonable(inner) for name, inner in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_jsonable(inner) for inner in cast("list[Any]", value)]
    return value


def _variant(raw: dict[str, Any], currency: str) -> dict[str, Any]:
    variant = {name: _jsonable(value) for name, value in raw.items() if value is not None}
    for name in ("price", "compare_at_price"):
        if name in variant:
            variant[name] = price_text(raw[name], currency)
    return variant


def _objects(value: object) -> Iterable[dict[str, Any]]:
    if not isinstance(value, list) or not all(
        isinstance(entry, dict) for entry in cast("list[object]", value)
    ):
        raise BadRecord("variants must be a list of objects")
    return cast("list[dict[str, Any]]", value)


def listed(value: Any) -> list[str]:
    """A list of texts from a list (of texts or {"src"}), or from one text parted by `|` or commas, as CSV
    cells are.

    A comma inside a URI parts nothing: only one before white space or before the next URI does.
    """
    if isinstance(value, list):
        entries = [e.get("src", "") if isinstance(e, dict) else e for e in cast("list[Any]", value)]
    else:
        text = str(value)
        entries = (_URI_GAP if "://" in text or text.startswith("file:") else _GAP).split(text)
    return [text for entry in entries if (text := str(entry).strip())]


def unique(values: Iterable[str]) -> list[str]:
    """The values without repeats, in their first order."""
    return list(dict.fromkeys(values))


def parse_price(value: Any, currency: str) -> tuple[str, str]:
    """(decimal text, currency code) of a price given as text, int, Decimal or {"amount", "currency"?}.

    Raises BadRecord for a float (it is not exact), for anything that is no price, and for too many decimals.
    """
    if isinstance(value, dict):
        parts = cast("dict[str, Any]", value)
        return parse_price(parts.get("amount"), str(parts.get("currency") or currency).upper())
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise BadRecord(f'a {type(value).__name__} is not a price: write it as text, such as "19.99"')
    try:
        amount, code = money.parse(str(value) if not isinstance(value, Decimal) else f"{value:f}", currency)
        return money.write(amount, code), code
    except money.MoneyError as error:
        raise BadRecord(str(error)) from None


def price_text(value: Any, currency: str) -> str:
    """The decimal text of a price in `currency`. Raises BadRecord when it names another currency."""
    text, code = parse_price(value, currency)
    if code != currency:
        raise BadRecord(f"a price in {code} in a product priced in {currency}")
    return text


def mark_changed(product: Product, *fields: str) -> None:
    """Note that this run changed `fields`, so that catalog-merge knows whose value counts."""
    product[CHANGED] = unique([*product.get(CHANGED, []), *fields])
