"""Whose value of a field counts when branches come together."""

from __future__ import annotations

import pytest

from headrace_nodes.combining import combine
from headrace_nodes.products import BadRecord

BEFORE = {"id": "1", "price": "10.00", "images": ["a"]}
REPRICED = BEFORE | {"price": "10.50", "changed": ["price"]}
STAMPED = BEFORE | {"image_watermarked": ["w"], "changed": ["image_watermarked"]}


@pytest.mark.parametrize("order", [("reprice", "images"), ("images", "reprice")])
def test_each_branch_gives_what_it_changed_whatever_their_order(order: tuple[str, str]):
    sides = {"reprice": REPRICED, "images": STAMPED}
    merged = combine([(name, sides[name]) for name in order])
    assert (merged["price"], merged["image_watermarked"]) == ("10.50", ["w"])
    assert set(merged["changed"]) == {"price", "image_watermarked"}


def test_a_field_that_nobody_says_to_have_changed_is_not_guessed():
    with pytest.raises(BadRecord, match="neither changed it"):
        combine([("a", BEFORE), ("b", BEFORE | {"price": "11.00"})])


def test_a_field_that_both_changed_is_not_guessed_either():
    other = BEFORE | {"price": "12.00", "changed": ["price"]}
    with pytest.raises(BadRecord, match="both changed it"):
        combine([("a", REPRICED), ("b", other)])
    assert combine([("a", REPRICED), ("b", other)], prefer="b")["price"] == "12.00"


def test_a_field_may_be_given_to_one_branch():
    other = BEFORE | {"price": "11.00"}
    assert combine([("a", REPRICED), ("b", other)], fields={"price": "b"})["price"] == "11.00"


def test_a_record_of_one_branch_only_stays_as_it_is():
    assert combine([("a", BEFORE)]) == BEFORE
