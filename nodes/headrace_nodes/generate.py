"""Made-up catalogs of any size: `python -m headrace_nodes.generate --products N --out FILE`.

The same N, format and seed give the same bytes. Brands follow Zipf's law, as in a real marketplace: the first
brand has about a fifth of the products, the last a handful. Prices cluster at everyday amounts with a long
tail. Memory is flat.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import sys
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import orjson

from headrace_nodes.formats import shopify_export
from headrace_nodes.products import Product

# fmt: off (words read better in rows)
_FIRST: Final = (
    "Alder",
    "Birk",
    "Corvo",
    "Delma",
    "Eskil",
    "Fjord",
    "Garn",
    "Halden",
    "Iluna",
    "Jarvo",
    "Kestrel",
    "Lumen",
    "Moro",
    "Nordal",
    "Orrin",
    "Pellar",
)
_LAST: Final = (
    "Works",
    "Supply",
    "House",
    "Mill",
    "Atelier",
    "Outfitters",
    "Goods",
    "Line",
    "Studio",
    "Trading",
)
_MATERIAL: Final = (
    "Cotton",
    "Wool",
    "Linen",
    "Leather",
    "Canvas",
    "Bamboo",
    "Steel",
    "Oak",
    "Ceramic",
    "Recycled",
)
_ADJECTIVE: Final = (
    "Classic",
    "Slim",
    "Light",
    "Heavy",
    "Travel",
    "Everyday",
    "Compact",
    "Folding",
    "Quilted",
    "Striped",
)
_THING: Final = (
    "Shirt",
    "Jacket",
    "Backpack",
    "Mug",
    "Lamp",
    "Blanket",
    "Notebook",
    "Sneaker",
    "Scarf",
    "Chair",
    "Bottle",
    "Belt",
    "Watch",
    "Cap",
    "Towel",
)
_COLOURS: Final = ("Black", "Navy", "Sand", "Olive", "Rust", "White")
_SIZES: Final = ("S", "M", "L", "XL")
_TABLE: Final = (
    "id",
    "title",
    "brand",
    "price",
    "currency",
    "images",
    "description",
    "type",
    "gtin",
    "mpn",
    "link",
    "inventory",
)
_ENDINGS: Final = (99, 95, 90, 50, 0)
# fmt: on

BRANDS: Final = [f"{first} {last}" for last in _LAST for first in _FIRST]
_SLUGS: Final = [brand.lower().replace(" ", "-") for brand in BRANDS]
_ZIPF: Final = list(accumulate(1 / rank for rank in range(1, len(BRANDS) + 1)))


def products(count: int, seed: int = 1) -> Iterator[Product]:
    """`count` products, one after the other, the same for the same seed."""
    draw = random.Random(seed).random  # noqa: S311 (made-up data, no secret)
    for number in range(count):
        yield _product(number, draw)


def _product(number: int, draw: Callable[[], float]) -> Product:
    rank = bisect(_ZIPF, draw() * _ZIPF[-1])
    thing = _pick(_THING, draw)
    title = f"{_pick(_ADJECTIVE, draw)} {_pick(_MATERIAL, draw)} {thing}"
    cents = _cents(draw)
    identity = f"p{number:07d}"
    slug = _SLUGS[rank]
    images = 1 + int(draw() ** 2 * 4)
    product: Product = {
        "id": identity,
        "title": f"{title} {number % 9973}",
        "brand": BRANDS[rank],
        "price": _price(cents),
        "currency": "EUR",
        "images": [f"https://images.example/{slug}/{identity}-{n}.jpg" for n in range(1, images + 1)],
        "variants": [],
        "description": f"<p>{title} by <b>{BRANDS[rank]}</b>.</p>\n<p>Made to last, and to be mended.</p>",
        "type": thing,
        "gtin": _gtin(number),
        "mpn": f"{slug[:4].upper()}-{number:07d}",
        "link": f"https://shop.example/products/{identity}",
        "inventory": int(draw() ** 3 * 500),
    }
    if draw() < 0.25:
        product["variants"] = _variants(product, cents, draw)
    return product


def _pick(words: Sequence[str], draw: Callable[[], float]) -> str:
    return words[int(draw() * len(words))]


def _cents(draw: Callable[[], float]) -> int:
    """A price in cents: many between 10 and 60, few up to 2,500, most with an everyday ending."""
    whole = int(5 + 55 * draw() + (2440 * draw() if draw() < 0.08 else 0))
    return whole * 100 + _ENDINGS[int(draw() ** 2 * len(_ENDINGS))]


def _price(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def _gtin(number: int) -> str:
    """A GTIN-13 with its check digit, in the range that is for use inside a company."""
    digits = f"20{number:010d}"
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits))
    return f"{digits}{-total % 10}"


def _variants(product: Product, cents: int, draw: Callable[[], float]) -> list[dict[str, Any]]:
    colour = _pick(_COLOURS, draw)
    sizes = _SIZES[: 2 + int(draw() * 3)]
    return [
        {
            "id": f"{product['id']}-{size}",
            "sku": f"{product['mpn']}-{size}",
            "options": {"Colour": colour, "Size": size},
            "price": _price(cents + 100 * place),
            "inventory": int(draw() ** 3 * 100),
        }
        for place, size in enumerate(sizes)
    ]


def _ndjson(product: Product) -> bytes:
    return orjson.dumps(product) + b"\n"


def _row(product: Product) -> bytes:
    out = io.StringIO()
    cells = {**product, "images": "|".join(product["images"])}
    csv.writer(out, lineterminator="\n").writerow([cells[name] for name in _TABLE])
    return out.getvalue().encode()


def _shopify(product: Product) -> bytes:
    return shopify_export.block(product, product["images"]).encode()


_WRITERS: Final[dict[str, tuple[str, Callable[[Product], bytes]]]] = {
    "ndjson": ("", _ndjson),
    "csv": (",".join(_TABLE) + "\n", _row),
    "shopify": (shopify_export.header(), _shopify),
}


def write(path: Path, count: int, *, form: str = "ndjson", seed: int = 1) -> int:
    """Write `count` products to `path` in the format `form` (ndjson, csv, shopify); the size in bytes."""
    head, line = _WRITERS[form]
    with path.open("wb", buffering=1 << 20) as file:
        file.write(head.encode())
        for product in products(count, seed):
            file.write(line(product))
        return file.tell()


def main(arguments: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m headrace_nodes.generate", description="Write a made-up catalog."
    )
    parser.add_argument("--products", type=int, required=True, metavar="N", help="how many products")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--format", choices=sorted(_WRITERS), default="ndjson")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another catalog (default 1)")
    options = parser.parse_args(arguments)
    if options.products < 0:
        parser.error("--products must not be negative")
    size = write(options.out, options.products, form=options.format, seed=options.seed)
    sys.stdout.write(f"{options.products} products, {size} bytes: {options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
