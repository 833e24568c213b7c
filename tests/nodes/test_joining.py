"""Branches joined again: complete, in a fixed order, whatever failed on the way and whatever the order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_nodes.joining import Source, join

Keys = list[int]


def source(side: str, keys: Keys) -> Source:
    """A stream that can be opened again and again."""

    def read() -> Iterator[dict[str, Any]]:
        yield from ({"id": key, "side": side} for key in keys)

    return read


def joined(sides: list[Keys], path: Path, window: int = 100) -> list[tuple[Any, ...]]:
    """(key, which sides are there) of every joined record."""
    sources = [source(str(index), keys) for index, keys in enumerate(sides)]
    rows = join(sources, "id", lambda: path, window)
    return [
        (next(record["id"] for record in row if record), *(record is not None for record in row))
        for row in rows
    ]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"


def never() -> Path:
    """No index is needed."""
    raise AssertionError("an index was built")


def test_streams_in_the_same_order_need_nothing_but_their_heads():
    rows = list(join([source("a", [1, 2]), source("b", [1, 2])], "id", never, 0))
    assert [[record and record["side"] for record in row] for row in rows] == [["a", "b"], ["a", "b"]]


def test_a_record_that_failed_in_one_branch_comes_alone(index: Path):
    assert joined([[1, 2, 3], [1, 3]], index) == [(1, True, True), (2, True, False), (3, True, True)]


def test_a_whole_part_that_failed_leaves_the_order_as_it_was(index: Path):
    rows = joined([list(range(1000)), [*range(300), *range(500, 1000)]], index)
    assert [row[0] for row in rows] == list(range(1000))
    assert [row[0] for row in rows if not row[2]] == list(range(300, 500))


def test_streams_in_opposite_orders_are_joined_by_an_index_on_disk(index: Path):
    rows = joined([list(range(500)), list(range(499, -1, -1))], index, window=10)
    assert rows == [(key, True, True) for key in range(500)]
    assert not index.exists()


def test_the_index_has_no_name_while_it_is_used_so_that_no_crash_leaves_it_behind(index: Path):
    rows = join([source("a", [1, 2, 3]), source("b", [3, 2, 1])], "id", lambda: index, 0)
    next(rows)
    assert not index.exists()


def test_a_key_that_is_there_twice_is_joined_in_order_of_appearance(index: Path):
    assert joined([[7, 7, 8], [7, 8]], index) == [(7, True, True), (7, True, False), (8, True, True)]


SIDES = st.lists(st.lists(st.integers(0, 12), max_size=14), min_size=1, max_size=3)


@pytest.mark.parametrize("window", [0, 3, 100])
@given(sides=SIDES)
def test_every_record_comes_exactly_once_and_with_as_many_partners_as_there_are(
    tmp_path_factory: pytest.TempPathFactory, window: int, sides: list[Keys]
):
    rows = joined(sides, tmp_path_factory.mktemp("join") / "index", window)
    for place, keys in enumerate(sides):
        assert Counter(row[0] for row in rows if row[1 + place]) == Counter(keys)
    assert Counter(row[0] for row in rows) == Counter[int](
        {key: max(keys.count(key) for keys in sides) for side in sides for key in side}
    )


@given(sides=SIDES)
def test_the_order_depends_on_the_streams_alone(tmp_path_factory: pytest.TempPathFactory, sides: list[Keys]):
    path = tmp_path_factory.mktemp("join") / "index"
    assert joined(sides, path, 5) == joined(sides, path, 5)


def test_a_record_without_the_key_is_an_error(index: Path):
    def read() -> Iterator[dict[str, Any]]:
        yield {"side": "a"}

    opened: Callable[[], Iterator[dict[str, Any]]] = read
    with pytest.raises(KeyError):
        list(join([opened, opened], "id", lambda: index))
