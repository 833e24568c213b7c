"""catalog-split: parts of a catalog, cut without a copy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.testing import Outcome, run_node
from headrace_nodes.catalog_filter import CatalogFilter
from headrace_nodes.catalog_reprice import CatalogReprice
from headrace_nodes.catalog_split import CatalogSplit


@pytest.fixture
def split(
    tmp_path: Path, catalog: Callable[..., str], product: Callable[..., dict[str, Any]]
) -> Callable[..., Outcome]:
    """Splits a catalog of `count` products."""

    def run(count: int, **config: Any) -> Outcome:
        uri = catalog(*(product(f"p{number}") for number in range(count)))
        whole = run_node(CatalogFilter, inputs={"read": {"uri": uri}}, data_dir=tmp_path)
        return run_node(CatalogSplit, config=config, inputs={"filter": whole.metadata}, data_dir=tmp_path)

    return run


def test_parts_have_the_wanted_size_and_the_last_has_the_rest(split: Callable[..., Outcome]):
    metadata = split(7, size=3).metadata
    assert metadata["count"] == 7
    assert [(part["index"], part["count"]) for part in metadata["parts"]] == [(0, 3), (1, 3), (2, 1)]


def test_the_number_of_parts_can_be_given_instead(split: Callable[..., Outcome]):
    assert [part["count"] for part in split(10, parts=4).metadata["parts"]] == [3, 3, 3, 1]


def test_all_parts_together_are_the_catalog(split: Callable[..., Outcome], tmp_path: Path):
    parts = split(7, size=3).metadata["parts"]
    read = [
        run_node(CatalogReprice, item=part, index=part["index"], data_dir=tmp_path).records for part in parts
    ]
    assert [record["id"] for records in read for record in records] == [f"p{number}" for number in range(7)]


def test_nothing_is_copied(split: Callable[..., Outcome]):
    outcome = split(1000, size=10)
    assert [path.name for path in outcome.data_dir.rglob("*") if path.is_file()] in ([], [".lock"])


def test_an_empty_catalog_has_no_parts(split: Callable[..., Outcome]):
    assert split(0).metadata == {"parts": [], "count": 0}


def test_too_many_parts_for_metadata_fail_and_say_which_size_will_do(split: Callable[..., Outcome]):
    refused = split(5000, size=1)
    assert refused.exit_code == 42
    assert refused.error is not None
    size = int(refused.error["message"].split("raise size to ")[1].split()[0])
    assert split(5000, size=size).exit_code == 0


def test_the_items_of_a_map_are_split_as_one_catalog(tmp_path: Path, catalog: Callable[..., str]):
    items = [{"uri": catalog({"id": name}, {"id": name + "2"}, name=name)} for name in ("a", "b")]
    metadata = {"count": 2, "succeeded": 2, "failed": 0, "items": items}
    assert run_node(CatalogSplit, inputs={"map": metadata}, data_dir=tmp_path).metadata["count"] == 4
