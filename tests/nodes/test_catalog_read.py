"""catalog-read: any common feed becomes products; one bad record is one failed record."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.testing import Outcome, run_node
from headrace_nodes.catalog_read import CatalogRead

FEEDS = {
    "ndjson": b'\xef\xbb\xbf{"id": "1", "title": "Mug", "price": 5.10}\n\n{"id": "2", "price": "6"}\n',
    "json": b'{"products": [{"id": "1", "title": "Mug", "price": 5.10},\n {"id": "2", "price": "6"}]}',
    "csv": b"id;title;price\n1;Mug;5.10\n2;;6\n",
    "shopify-csv": b"Handle,Title,Variant Price\n1,Mug,5.10\n2,Cup,6\n",
}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Outcome]:
    """Reads these bytes as a feed."""

    def run(content: bytes, *, tolerate: float = 0.0, name: str = "feed", **config: Any) -> Outcome:
        (tmp_path / name).write_bytes(content)
        return run_node(
            CatalogRead, config={"uri": f"file:{name}", **config}, data_dir=tmp_path, tolerate=tolerate
        )

    return run


@pytest.mark.parametrize("form", FEEDS)
def test_the_format_is_found_and_the_products_are_the_same(read: Callable[..., Outcome], form: str):
    outcome = read(FEEDS[form])
    assert outcome.metadata["format"] == form
    assert [(record["id"], record["price"]) for record in outcome.records] == [("1", "5.10"), ("2", "6.00")]


@pytest.mark.parametrize("form", FEEDS)
def test_a_feed_packed_with_gzip_is_read_alike(read: Callable[..., Outcome], form: str):
    assert read(gzip.compress(FEEDS[form])).records == read(FEEDS[form]).records


def test_a_bad_line_is_one_failed_record_with_its_place(read: Callable[..., Outcome]):
    outcome = read(b'{"id": "1", "price": "1"}\n{oops\n{"id": "3", "price": "cheap"}\n', tolerate=1)
    assert (outcome.metadata["count"], outcome.metadata["failed"]) == (1, 2)
    assert [(entry["index"], entry.get("key")) for entry in outcome.failed] == [(1, None), (2, "3")]
    assert "cheap" in outcome.failed[1]["message"]


def test_a_shopify_product_that_fails_is_named_by_its_handle(read: Callable[..., Outcome]):
    outcome = read(b"Handle,Title,Variant Price\nmug,Mug,\ncup,Cup,6\n", tolerate=1)
    assert [entry["key"] for entry in outcome.failed] == ["mug"]


def test_prices_without_a_currency_get_the_configured_one(read: Callable[..., Outcome]):
    assert read(b'{"id": "1", "price": "390"}', currency="JPY").records[0]["currency"] == "JPY"


def test_a_file_that_is_not_what_it_is_read_as_fails_for_good(read: Callable[..., Outcome]):
    outcome = read(b"id,title\n1,Mug\n", format="shopify-csv")
    assert outcome.exit_code == 42
    assert outcome.error is not None
    assert "Handle" in outcome.error["message"]


def test_a_gzip_file_that_breaks_off_may_be_tried_again(read: Callable[..., Outcome]):
    outcome = read(gzip.compress(FEEDS["ndjson"] * 1000)[:-20])
    assert outcome.error is not None
    assert outcome.error["retryable"]


@pytest.mark.parametrize(
    "uri", ["file:///proc/self/environ", "file:../outside", "file:missing", "http://127.0.0.1/"]
)
def test_what_may_not_be_read_is_refused_without_a_retry(tmp_path: Path, uri: str):
    (tmp_path / "data").mkdir()
    (tmp_path / "outside").write_text("secret")
    outcome = run_node(CatalogRead, config={"uri": uri}, data_dir=tmp_path / "data")
    assert (outcome.exit_code, outcome.metadata) == (42, None)


def test_an_empty_feed_is_an_error_only_where_a_header_is_due(read: Callable[..., Outcome]):
    assert read(b"", format="ndjson").metadata["count"] == 0
    assert read(b"", format="csv").exit_code == 42


def test_the_products_of_another_run_can_be_read(read: Callable[..., Outcome], tmp_path: Path):
    first = read(FEEDS["ndjson"])
    again = run_node(CatalogRead, config={"uri": first.metadata["uri"]}, data_dir=tmp_path, run_id="other")
    assert again.records == first.records
    assert again.metadata["format"] == "dataset"
