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
from functools import lru_cache
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
_FRACTION = re.compile(rb"[:\[,]\s*-?[0-9]+[.eE]")
"""A JSON number that is no integer; what looks like one inside a text costs a second look, nothing more."""
_GAP = re.compile(r"[|,]")
_URI_GAP = re.compile(r"\||,\s+|,(?=(?:https?|file|s3):)")
_KEPT_AS_WELL = frozenset({"sku", "handle"})
_AMOUNTS = ("price", "compare_at_price", "sale_price")
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
    if _FRACTION.search(line):
        return cast("dict[str, Any]", json.loads(line, parse_float=Decimal))
    return cast("dict[str, Any]", value)


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
        code, images, variants = raw["currency"], raw["images"], raw["variants"]
        if type(images) is not list or type(variants) is not list or None in raw.values():
            return False
        if not all(type(raw[name]) is str for name in ("id", "title", "brand", "price")):
            return False
        if not all(type(uri) is str for uri in cast("list[object]", images)):
            return False
        offers = cast("list[Mapping[str, Any]]", [raw, *cast("list[object]", variants)])
        return _has_normal_names(raw) and all(_is_normal_offer(offer, code) for offer in offers)
    except (KeyError, TypeError, BadRecord):
        return False


def _has_normal_names(raw: Mapping[str, Any]) -> bool:
    names = " ".join(raw)
    return names.islower() and "-" not in names and names.count(" ") == len(raw) - 1


def _is_normal_offer(offer: Mapping[str, Any], code: str) -> bool:
    """Whether the prices of a product or variant are written as their currency has them."""
    if type(offer) is not dict or None in offer.values():
        return False
    amounts = [offer[name] for name in _AMOUNTS if name in offer]
    return bool(amounts) and all(type(text) is str and price_text(text, code) == text for text in amounts)


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
    if name in _AMOUNTS:
        return price_text(value, currency)
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
    for name in _AMOUNTS:
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
    if type(value) is str:
        return _text_in(value, currency)
    return _in(value, currency)


@lru_cache(maxsize=8192)
def _text_in(value: str, currency: str) -> str:
    return _in(value, currency)


def _in(value: Any, currency: str) -> str:
    text, code = parse_price(value, currency)
    if code != currency:
        raise BadRecord(f"a price in {code} in a product priced in {currency}")
    return text


def mark_changed(product: Product, *fields: str) -> None:
    """Note that this run changed `fields`, so that catalog-merge knows whose value counts."""
    product[CHANGED] = unique([*product.get(CHANGED, []), *fields])
