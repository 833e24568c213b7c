"""The arithmetic of concurrency keys: who comes under which, who is in the way, who is next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.concurrency import ASKED, Concurrency, Limit, OnLimit, arrival, rank
from app.errors import ExpressionError

NOW = 1_800_000_000_000


def concurrency(**field) -> Concurrency:
    made = Concurrency.of({"concurrency": {"max": 1, **field}})
    assert made is not None
    return made


def test_a_workflow_without_the_field_has_no_limit():
    assert Concurrency.of({}) is None


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (None, ""),
        ("all", "all"),
        ("${{ params.brand }}", "fjord"),
        ("${{ params.n }}", "7"),
        ("shop ${{ params.n }}", "shop 7"),
        ("${{ params.o }}", '{"a":1,"b":2}'),
    ],
)
def test_a_key_is_text_whatever_its_expression_gives(key: str | None, text: str):
    params = {"brand": "fjord", "n": 7, "o": {"b": 2, "a": 1}}
    assert concurrency(key=key).limit(params, None).key == text


def test_a_key_that_reads_what_does_not_exist_names_the_place():
    with pytest.raises(ExpressionError, match="/concurrency/key"):
        concurrency(key="${{ params.nothing }}").limit({}, None)


def test_a_limit_comes_back_as_it_was_kept():
    limit = Limit("k", 3, OnLimit.CANCEL_RUNNING, 9)
    assert Limit.decode(limit.encode()) == limit


@pytest.mark.parametrize(
    ("field", "most"),
    [
        ({"max": 2}, -1),
        ({"max": 2, "on_limit": "queue", "max_queued": 3}, 5),
        ({"max": 2, "on_limit": "reject"}, 2),
        ({"max": 2, "on_limit": "reject", "max_queued": 3}, 2),
        ({"max": 2, "on_limit": "cancel_running", "max_queued": 3}, -1),
    ],
)
def test_how_many_may_go_on_and_wait_together(field, most: int):
    assert concurrency(**field).limit({}, None).most == most


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**12), st.integers(0, 10**12))
def test_the_more_urgent_goes_first_then_the_earlier(one: int, other: int, early: int, late: int):
    assert (rank(one, NOW + early) < rank(other, NOW + late)) == ((one, early) < (other, late))
    assert arrival(float(rank(one, NOW + early))) == NOW + early


def test_the_place_of_a_run_that_was_asked_to_end_tells_since_when_it_has_it():
    assert arrival(float(NOW - ASKED)) == arrival(float(NOW)) == NOW
