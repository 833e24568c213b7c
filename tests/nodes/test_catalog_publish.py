"""catalog-publish: one feed file, whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.testing import Outcome, run_node
from headrace_nodes.catalog_publish import CatalogPublish


@pytest.fixture
def publish(tmp_path: Path, catalog: Callable[..., str]) -> Callable[..., Outcome]:
    """Publishes these products."""

    def run(*products: dict[str, Any], **config: Any) -> Outcome:
        inputs = {"merge": {"uri": catalog(*products)}}
        return run_node(CatalogPublish, config=config, inputs=inputs, data_dir=tmp_path, tolerate=0.9)

    return run


def content(outcome: Outcome) -> bytes:
    """The published file."""
    return Path(outcome.metadata["uri"].removeprefix("file://")).read_bytes()


def test_the_metadata_tells_what_the_file_holds(publish: Callable[..., Outcome], product: Callable[..., Any]):
    outcome = publish(product("a"), product("b"))
    data = content(outcome)
    assert outcome.metadata["count"] == len(data.splitlines()) == 2
    assert outcome.metadata["bytes"] == len(data)
    assert outcome.metadata["sha256"] == hashlib.sha256(data).hexdigest()


def test_the_marks_of_the_run_are_not_published(publish: Callable[..., Outcome], product: Callable[..., Any]):
    assert b"changed" not in content(publish(product(changed=["price"])))


def test_google_gets_its_header_and_a_line_for_each_item(
    publish: Callable[..., Outcome], product: Callable[..., Any]
):
    outcome = publish(
        product(images=["https://i.example/1.jpg"], link="https://shop.example/mug", mpn="M-1"),
        format="google-merchant-tsv",
        name="merchant",
    )
    assert outcome.metadata["uri"].endswith("/published/merchant.tsv")
    assert content(outcome).decode() == (
        "id\ttitle\tdescription\tlink\timage_link\tadditional_image_link\tavailability\tprice\tsale_price\tbrand\tgtin"
        "\tmpn\tcondition\titem_group_id\tgoogle_product_category\tproduct_type\tcolor\tsize\n"
        "mug\tMug\tMug\thttps://shop.example/mug\thttps://i.example/1.jpg\t\tin_stock\t10.00 EUR\t\tAlder\t"
        "\tM-1\tnew\t\t\t\t\t\n"
    )


def test_shopify_gets_rows_for_variants_and_pictures(
    publish: Callable[..., Outcome], product: Callable[..., Any]
):
    outcome = publish(product(images=["a", "b"]), format="shopify-csv")
    lines = content(outcome).decode().splitlines()
    assert lines[0].startswith("Handle,Title,Body (HTML),Vendor,")
    assert [line.split(",")[:2] for line in lines[1:]] == [["mug", "Mug"], ["mug", ""]]


def test_watermarked_pictures_are_published_in_place_of_the_plain_ones(
    publish: Callable[..., Outcome], product: Callable[..., Any]
):
    outcome = publish(product(images=["plain"], image_watermarked=["stamped"]), format="shopify-csv")
    assert b"stamped" in content(outcome)
    assert b"plain" not in content(outcome)


def test_files_of_the_data_directory_get_their_public_links(
    publish: Callable[..., Outcome], product: Callable[..., Any], tmp_path: Path
):
    picture = f"file://{tmp_path}/run-test/images/0/files/images/ab/a%20b.png"
    config = {
        "format": "google-merchant-tsv",
        "image_base": "https://cdn.example/d/",
        "link_base": "https://s.example/",
    }
    data = content(publish(product(images=[picture]), **config))
    assert b"\thttps://cdn.example/d/run-test/images/0/files/images/ab/a%20b.png\t" in data
    assert b"\thttps://s.example/mug\t" in data


def test_what_the_channel_would_refuse_is_a_failed_record_and_the_rest_is_published(
    publish: Callable[..., Outcome], product: Callable[..., Any]
):
    good = product("good", images=["i"], link="https://shop.example/good")
    outcome = publish(good, product("bad"), format="google-merchant-tsv")
    assert (outcome.metadata["count"], outcome.metadata["failed"]) == (1, 1)
    assert outcome.failed[0]["key"] == "bad"


def test_an_empty_catalog_is_an_empty_feed_with_its_header(publish: Callable[..., Outcome]):
    assert content(publish(format="shopify-csv")).count(b"\n") == 1


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden"])
def test_a_file_name_cannot_lead_elsewhere(publish: Callable[..., Outcome], name: str):
    assert publish(name=name).exit_code == 42
