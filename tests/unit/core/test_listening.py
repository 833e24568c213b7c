"""Which workflows a type of event concerns, and whether a trigger wants it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.listening import Listening, Patterns, event_triggers, matches
from app.errors import ExpressionError

TYPES = st.text("ab.", max_size=5)
PATTERNS = st.builds(lambda text, star: text + star, TYPES, st.sampled_from(["", "*"]))


def event(**data: Any) -> dict[str, Any]:
    return {"id": "1", "source": "/s", "type": "t", "data": data}


@pytest.mark.parametrize(
    ("pattern", "type_", "fits"),
    [
        ("com.example.price.*", "com.example.price.drop", True),
        ("com.example.price.*", "com.example.price.", True),
        ("com.example.price.*", "com.example.prices", False),
        ("com.example.price", "com.example.price", True),
        ("com.example.price", "com.example.price.drop", False),
        ("*", "anything", True),
    ],
)
def test_a_star_at_the_end_stands_for_any_rest(pattern: str, type_: str, fits: bool):
    assert matches(pattern, type_) is fits


@given(st.lists(st.tuples(st.sampled_from("uvw"), st.lists(PATTERNS, max_size=3)), max_size=8), TYPES)
def test_the_index_finds_what_a_look_at_every_pattern_finds(changes: list[tuple[str, list[str]]], type_: str):
    patterns, plain = Patterns(), dict[str, list[str]]()
    for workflow, wanted in changes:
        patterns.put(workflow, wanted)
        plain[workflow] = wanted
    expected = sorted(name for name, wanted in plain.items() if any(matches(each, type_) for each in wanted))
    assert patterns.matching(type_) == expected


def test_when_decides_over_the_event():
    listening = Listening("l", "t", "event.data.percent > 10", None)
    assert listening.wants(event(percent=11))
    assert not listening.wants(event(percent=10))


@pytest.mark.parametrize("when", ["event.data.percent", "event.data.missing > 1"])
def test_a_condition_that_says_neither_yes_nor_no_is_told(when: str):
    with pytest.raises(ExpressionError, match="when: "):
        Listening("l", "t", when, None).wants(event(percent=1))


def test_only_event_triggers_of_a_document_are_taken():
    found = event_triggers(
        [{"schedule": {"name": "s"}}, {"event": {"name": "e", "type": "x.*", "when": "true"}}]
    )
    assert found == [Listening("e", "x.*", "true", None)]


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("event.data.n", "a number"), ("event.data.s", "text"), ("event.data.l", "a list"), ("event.data", "an object"),
        ("event.data.z", "null"),
    ],
)  # fmt: skip
def test_a_condition_that_is_neither_true_nor_false_is_told_in_words(when: str, said: str):
    listening = Listening("e", "*", when, None)
    event: Any = {"data": {"n": 1.5, "s": "yes", "l": [], "z": None}}
    with pytest.raises(ExpressionError, match=f"when: true or false is expected, not {said}"):
        listening.wants(event)
