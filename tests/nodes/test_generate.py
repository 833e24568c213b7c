"""The generator: the same catalog for the same seed, shaped like a real one, whatever the format."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from headrace.testing import run_node
from headrace_nodes.catalog_read import CatalogRead
from headrace_nodes.generate import BRANDS, main, products, write


@pytest.mark.parametrize("form", ["ndjson", "csv", "shopify"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path, form: str):
    paths = [tmp_path / name for name in ("one", "two", "three")]
    for path, seed in zip(paths, (7, 7, 8), strict=True):
        write(path, 200, form=form, seed=seed)
    one, two, three = (path.read_bytes() for path in paths)
    assert one == two
    assert one != three


def test_a_longer_catalog_begins_like_a_shorter_one():
    assert list(products(50))[:20] == list(products(20))


def test_few_brands_have_most_of_the_products():
    counts = Counter(product["brand"] for product in products(5000))
    first = counts.most_common(10)
    assert first[0][0] == BRANDS[0]
    assert sum(count for _, count in first) > 0.4 * 5000
    assert len(counts) > 100


@pytest.mark.parametrize("form", ["ndjson", "csv", "shopify"])
def test_what_is_generated_is_read_without_a_failed_record(tmp_path: Path, form: str):
    write(tmp_path / "feed", 300, form=form)
    outcome = run_node(CatalogRead, config={"uri": "file:feed"}, data_dir=tmp_path)
    assert (outcome.metadata["count"], outcome.metadata["failed"]) == (300, 0)
    assert [record["price"] for record in outcome.records] == [product["price"] for product in products(300)]


def test_gtins_have_their_check_digit():
    digits = [[int(digit) for digit in product["gtin"]] for product in products(20)]
    assert all((sum(row[0::2]) + 3 * sum(row[1::2])) % 10 == 0 for row in digits)


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--products", "3", "--out", str(tmp_path / "x.csv"), "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("3 products, ")
    with pytest.raises(SystemExit):
        main(["--products", "-1", "--out", str(tmp_path / "x")])
