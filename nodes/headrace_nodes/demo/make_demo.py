"""Draws the demo's pictures and writes its catalog: `python -m headrace_nodes.demo.make_demo [DIRECTORY]`.

Nothing is random: the same Pillow gives the same bytes.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from PIL import Image, ImageDraw

from headrace_nodes.demo import BROKEN, ROOT
from headrace_nodes.formats import shopify_export
from headrace_nodes.products import Product

Colour = tuple[int, int, int]
SIDE: Final = 240


class Brand(NamedTuple):
    """An invented brand: its colours, what it makes, and for how much (cents of the first product)."""

    name: str
    colours: tuple[Colour, Colour, Colour]
    kind: str
    things: tuple[str, ...]
    cents: int
    sizes: tuple[str, ...] = ()
    picture: str = "png"

    @property
    def slug(self) -> str:
        """The name as it stands in ids and file names."""
        return self.name.lower().replace(" ", "-")


# fmt: off (a table)
BRANDS: Final = (
    Brand(
        "Fjellro",
        ((36, 74, 92), (226, 176, 84), (240, 240, 234)),
        "Outdoor",
        ("Tent", "Backpack", "Bottle", "Stove", "Lantern"),
        2490,
    ),
    Brand(
        "Casa Lumo",
        ((214, 120, 72), (250, 232, 208), (92, 56, 44)),
        "Home",
        ("Table Lamp", "Vase", "Cushion", "Bowl", "Candle"),
        1490,
        picture="jpg",
    ),
    Brand(
        "Petit Orme",
        ((120, 164, 120), (252, 214, 196), (70, 92, 120)),
        "Toys",
        ("Wooden Train", "Puzzle", "Kite", "Plush Hare", "Spinning Top"),
        990,
    ),
    Brand(
        "Nordvik Studio",
        ((52, 52, 60), (198, 202, 206), (158, 60, 70)),
        "Apparel",
        ("Wool Jumper", "Rain Jacket", "Linen Shirt", "Scarf", "Beanie"),
        3990,
        ("S", "M", "L"),
    ),
)
# fmt: on
SERIES: Final = ("Classic", "Light", "Grand")


def products() -> list[Product]:
    """The sixty products, fifteen a brand."""
    return [_product(brand, number) for brand in BRANDS for number in range(1, 16)]


def _product(brand: Brand, number: int) -> Product:
    thing, series = brand.things[(number - 1) % 5], SERIES[(number - 1) // 5]
    identity = f"{brand.slug}-{number:02d}"
    cents = brand.cents + 350 * number + (1000 if series == "Grand" else 0)
    picture = "jpg" if identity == BROKEN else brand.picture
    images = [f"file:demo/images/{identity}.{picture}"]
    if number % 5 == 0:
        images.append(f"file:demo/images/{identity}-side.{brand.picture}")
    product: Product = {
        "id": identity,
        "title": f"{series} {thing}",
        "brand": brand.name,
        "price": _price(cents),
        "currency": "EUR",
        "images": images,
        "variants": [_variant(identity, size, cents + 200 * i) for i, size in enumerate(brand.sizes)],
        "handle": identity,
        "description": f"<p>{series} {thing.lower()} by {brand.name}.</p>\n<p>Made to be mended.</p>",
        "type": brand.kind,
        "tags": [brand.kind.lower(), series.lower()],
        "link": f"https://shop.example/products/{identity}",
        "mpn": f"{brand.slug[:3].upper()}-{number:03d}",
        "condition": "new",
        "inventory": (number * 7) % 23,
    }
    if number % 6 == 0:
        product["compare_at_price"] = _price(cents + 1000)
    return product


def _variant(identity: str, size: str, cents: int) -> dict[str, Any]:
    sku = f"{identity}-{size.lower()}"
    return {
        "id": sku,
        "sku": sku,
        "options": {"Size": size},
        "price": _price(cents),
        "inventory": len(sku) % 5,
    }


def _price(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def _box(draw: ImageDraw.ImageDraw, colours: tuple[Colour, ...], shift: int) -> None:
    draw.rounded_rectangle((60, 70 + shift, 180, 200), 18, fill=colours[0], outline=colours[2], width=4)
    draw.rectangle((60, 110 + shift, 180, 126 + shift), fill=colours[2])


def _peak(draw: ImageDraw.ImageDraw, colours: tuple[Colour, ...], shift: int) -> None:
    draw.polygon(((120, 40 + shift), (204, 204), (36, 204)), fill=colours[0], outline=colours[2])
    draw.polygon(((120, 40 + shift), (146, 204), (94, 204)), fill=colours[2])


def _disc(draw: ImageDraw.ImageDraw, colours: tuple[Colour, ...], shift: int) -> None:
    draw.ellipse((50, 50 + shift, 190, 190 + shift // 2), fill=colours[0], outline=colours[2], width=5)
    draw.ellipse((94, 94 + shift, 146, 146), fill=colours[2])


def _drop(draw: ImageDraw.ImageDraw, colours: tuple[Colour, ...], shift: int) -> None:
    draw.ellipse((66, 100, 174, 208), fill=colours[0])
    draw.polygon(((120, 30 + shift), (168, 130), (72, 130)), fill=colours[0])
    draw.arc((86, 120, 154, 190), 20, 120, fill=colours[2], width=6)


def _lines(draw: ImageDraw.ImageDraw, colours: tuple[Colour, ...], shift: int) -> None:
    for left in range(48, 192, 24):
        draw.rounded_rectangle(
            (left, 56 + shift + left % 5 * 6, left + 14, 196), 6, fill=colours[left // 24 % 2 * 2]
        )


_SHAPES: Final[tuple[Callable[[ImageDraw.ImageDraw, tuple[Colour, ...], int], None], ...]] = (
    _peak, _box, _drop, _lines, _disc,
)  # fmt: skip


def picture(brand: Brand, number: int, *, side: bool = False) -> bytes:
    """The picture of a product, or of its side."""
    image = Image.new("RGB", (SIDE, SIDE), brand.colours[1])
    draw = ImageDraw.Draw(image)
    for band in range(0, SIDE, 48):
        draw.line((0, band + number * 3 % 48, SIDE, band + number * 3 % 48), fill=brand.colours[2], width=1)
    draw.ellipse((40, 196, 200, 216), fill=tuple(value * 4 // 5 for value in brand.colours[1]))
    _SHAPES[(number - 1) % 5](draw, brand.colours, (number - 1) // 5 * 12)
    if side:
        image = image.resize((SIDE // 2, SIDE)).resize((SIDE, SIDE))
    out = io.BytesIO()
    if brand.picture == "jpg":
        image.save(out, "JPEG", quality=80)
    else:
        image.quantize(32).save(out, "PNG", optimize=True)
    return out.getvalue()


def broken() -> bytes:
    """The first bytes of a JPEG, and no more: what an upload that broke off leaves."""
    return b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xdb\x00C\x00" + bytes(
        24
    )


def write(root: Path) -> None:
    """Write catalog, Shopify export and pictures below `root`."""
    home = root / "demo"
    (home / "images").mkdir(parents=True, exist_ok=True)
    catalog = products()
    (home / "catalog.ndjson").write_bytes(b"".join(orjson.dumps(product) + b"\n" for product in catalog))
    blocks = "".join(shopify_export.block(product, product["images"]) for product in catalog)
    (home / "shopify.csv").write_bytes((shopify_export.header() + blocks).encode())
    for brand in BRANDS:
        for number in range(1, 16):
            identity = f"{brand.slug}-{number:02d}"
            if identity == BROKEN:
                (home / "images" / f"{identity}.jpg").write_bytes(broken())
            else:
                (home / "images" / f"{identity}.{brand.picture}").write_bytes(picture(brand, number))
            if number % 5 == 0:
                side = home / "images" / f"{identity}-side.{brand.picture}"
                side.write_bytes(picture(brand, number, side=True))


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
