"""Durations and instants: what a document may write, and what it means in milliseconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.durations import MAX_MS, format_duration, parse_duration, parse_instant


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("200ms", 200),
        ("90s", 90_000),
        ("10m", 600_000),
        ("6h", 21_600_000),
        ("30d", 2_592_000_000),
        (0, 0),
        ("0s", 0),
    ],
)
def test_a_duration_is_a_whole_number_and_a_unit(text: object, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    "text", ["", "10", "1.5h", "-1s", "1h30m", "10 m", "10M", "٣s", "10m\n", 5, 1.0, None, True, False]
)
def test_anything_else_is_refused_with_examples(text: object) -> None:
    with pytest.raises(ValueError, match="200ms, 90s, 10m, 6h, 30d"):
        parse_duration(text)


def test_ten_years_are_the_longest_duration() -> None:
    assert parse_duration("3650d") == MAX_MS
    with pytest.raises(ValueError, match="at most 3650d"):
        parse_duration("3651d")


@given(st.integers(min_value=0, max_value=MAX_MS))
def test_what_is_formatted_is_read_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds)) == milliseconds


def test_an_instant_is_unix_milliseconds_whatever_its_zone() -> None:
    assert parse_instant("1970-01-01T00:00:01.5Z") == 1_500
    assert parse_instant("1970-01-01T02:00:00+02:00") == 0


@pytest.mark.parametrize("text", ["2030-01-01T00:00:00", "tomorrow", "", 17, None, "1" * 100])
def test_an_instant_without_a_zone_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="time zone"):
        parse_instant(text)
