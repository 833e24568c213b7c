"""The demo, run by `headrace dev`: its feeds hold exactly what this test computes by itself from the demo's catalog."""

from __future__ import annotations

import asyncio
import csv
import html
import json
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from headrace_nodes import demo
from loadtests.api import Api, until
from loadtests.dev import Dev, Ready

PERCENT = 5
Row = dict[str, str]


def repriced(text: str) -> str:
    """PERCENT more, to the cent, halves up; then the nearest price that ends with .99, up when halfway."""
    cents = int(Fraction(text) * 100 * (100 + PERCENT) / 100 + Fraction(1, 2))
    choices = [dollars * 100 + 99 for dollars in range(max(cents // 100 - 2, 0), cents // 100 + 3)]
    best = min(choices, key=lambda choice: (abs(choice - cents), -choice))
    return f"{best // 100}.{best % 100:02d}"


def catalog() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (demo.ROOT / "demo" / "catalog.ndjson").read_text().splitlines()]


def offer(product: dict[str, Any], item: dict[str, Any]) -> Row:
    """The columns of a line of the Google feed that a price, a stock and an id make."""
    price, before = repriced(item["price"]), item.get("compare_at_price")
    sale = before is not None and Fraction(before) > Fraction(price)
    size = item.get("options", {}).get("Size", "")
    return {
        "id": item["id"],
        "title": product["title"] + (f" - {size}" if size else ""),
        "description": " ".join(html.unescape(re.sub(r"<[^>]*>", " ", product["description"])).split()),
        "link": product["link"],
        "availability": "in_stock" if item["inventory"] > 0 else "out_of_stock",
        "price": f"{before if sale else price} {product['currency']}",
        "sale_price": f"{price} {product['currency']}" if sale else "",
        "brand": product["brand"],
        "gtin": "",
        "mpn": product["mpn"],
        "condition": "new",
        "item_group_id": product["id"] if size else "",
        "google_product_category": "",
        "product_type": product["type"],
        "color": "",
        "size": size,
    }


def google_rows() -> list[Row]:
    return [offer(product, item) for product in catalog() for item in (product["variants"] or [product])]


def read(output: dict[str, Any], delimiter: str) -> list[Row]:
    with Path(output["uri"].removeprefix("file://")).open(newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


@pytest.fixture
async def finished(dev: Dev, connect: Callable[[Ready], Api]) -> tuple[Api, dict[str, Any]]:
    """The demo run that `headrace dev` made, at its end."""
    dev.demo = True
    api = connect(await asyncio.to_thread(dev.start))

    async def runs() -> list[dict[str, Any]]:
        return (await api.get("/runs", workflow="brand-aggregator"))["items"]

    (run,) = await until(runs, 60)
    return api, await api.ended(run["id"], 90)


async def test_the_demo_publishes_the_right_feeds_although_one_picture_is_broken(
    finished: tuple[Api, dict[str, Any]],
):
    api, run = finished
    assert (run["status"], run["error"]) == ("succeeded", None)
    assert run["output"] == {"published": 60, "incomplete": 1}
    nodes = {node["name"]: node for node in (await api.get(f"/runs/{run['id']}/nodes"))["items"]}
    assert {node["status"] for node in nodes.values()} == {"succeeded"}

    await the_broken_picture_is_in_the_ledger(api, run["id"])
    rows = read(nodes["publish"]["metadata"], "\t")
    pictures = [(row.pop("image_link"), row.pop("additional_image_link")) for row in rows]
    assert rows == google_rows()
    the_pictures_are_watermarked(rows, pictures)
    the_shopify_feed_has_every_product_at_its_new_price(read(nodes["shopify"]["metadata"], ","))


async def the_broken_picture_is_in_the_ledger(api: Api, run: str) -> None:
    """One record of one item failed, within what the node tolerates; nothing else did."""
    items = (await api.get(f"/runs/{run}/nodes/images/items"))["items"]
    assert {item["status"] for item in items} == {"succeeded"}
    (failed,) = [item for item in items if item["failed_records"]]
    ledger = await api.get(f"/runs/{run}/nodes/images/records", item=failed["item"])
    ((key, kind),) = [(record["key"], record["type"]) for record in ledger["items"]]
    assert (key, kind) == (demo.BROKEN, "BadImage")


def the_pictures_are_watermarked(rows: list[Row], pictures: list[tuple[str, str]]) -> None:
    """Each product's pictures are its own ones with something drawn over them, in a corner; the broken one is as it was."""
    originals = {product["id"]: product["images"] for product in catalog()}
    for row, (first, others) in zip(rows, pictures, strict=True):
        product = row["item_group_id"] or row["id"]
        links = [first, *(others.split(",") if others else [])]
        if product == demo.BROKEN:
            assert links == originals[product]
            continue
        assert len(links) == len(originals[product])
        for link, original in zip(links, originals[product], strict=True):
            before = Image.open(demo.ROOT / original.removeprefix("file:")).convert("RGB")
            after = Image.open(link.removeprefix("file://")).convert("RGB")
            assert after.size == before.size
            drawn = ImageChops.difference(before, after).convert("L").point([0] * 64 + [255] * 192).getbbox()
            assert drawn is not None
            left, top, _, _ = drawn
            assert left > before.width // 4
            assert top > before.height // 2, "the watermark is at the bottom right"


def the_shopify_feed_has_every_product_at_its_new_price(rows: list[Row]) -> None:
    priced = [(row["Handle"], row["Variant Price"]) for row in rows if row["Variant Price"]]
    wanted = [
        (product["handle"], repriced(item["price"]))
        for product in catalog()
        for item in (product["variants"] or [product])
    ]
    assert priced == wanted
