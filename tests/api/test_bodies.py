"""Row 33 of the fault matrix: what is not JSON is 400, what is JSON and still wrong is 422 with a pointer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.api.bodies import MAX_YAML, decode_yaml
from app.core.json_values import MAX_DEPTH, decode_json
from app.errors import InvalidInput, MalformedInput, TooLarge


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b"NaN",
        b'{"a": Infinity}',
        b'{"a": "\xff\xfe"}',
        b'{"a": "\\ud800"}',
        b"[1,]",
        b'"a\0b"',
    ],
)
def test_what_is_not_json_is_malformed(raw: bytes):
    with pytest.raises(MalformedInput) as caught:
        decode_json(raw)
    assert caught.value.status == 400


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100_000])
def test_deep_nesting_is_malformed(depth: int):
    with pytest.raises(MalformedInput):
        decode_json(b"[" * depth + b"]" * depth)


def test_the_deepest_nesting_that_is_allowed_is_read():
    value = decode_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert value is not None


def test_a_wide_document_is_not_taken_for_a_deep_one():
    assert len(decode_json(b"[" + b"[]," * 1000 + b"[]]")) == 1001


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        (b'{"a": ["x", "b\\u0000c"]}', "/a/1"),
        (b'{"a/b": {"~": "\\u0000"}}', "/a~1b/~0"),
        (b'{"k\\u0000": 1}', "/k\\u0000"),
    ],
)
def test_a_nul_is_invalid_and_its_place_is_told(raw: bytes, pointer: str):
    with pytest.raises(InvalidInput) as caught:
        decode_json(raw)
    assert caught.value.status == 422
    assert caught.value.places[0].pointer == pointer


def test_text_that_only_looks_like_a_nul_is_fine():
    assert decode_json(rb'{"a": "\\u0000"}') == {"a": r"\u0000"}


def test_of_duplicate_members_the_last_one_counts():
    assert decode_json(b'{"a": 1, "a": 2}') == {"a": 2}


def test_yaml_is_read_as_json_would_have_it():
    text = b"name: shop\nwhen: 2026-01-02\nnodes: {a: {type: b, tolerate: 0.5, x: [1, true, null]}}\n"
    assert decode_yaml(text) == {
        "name": "shop",
        "when": "2026-01-02",
        "nodes": {"a": {"type": "b", "tolerate": 0.5, "x": [1, True, None]}},
    }


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"a: &x [1]\nb: *x\n", InvalidInput),
        (b"a: .nan\n", InvalidInput),
        (b"1: x\n", InvalidInput),
        (b"a: !!binary aGVsbG8=\n", InvalidInput),
        (b"a: !!python/object/apply:os.system [id]\n", MalformedInput),
        (b"a: [1\n", MalformedInput),
        (b"a: \xff\n", MalformedInput),
        (b"a: 1\n---\nb: 2\n", MalformedInput),
        (b"[" * 1000 + b"]" * 1000, MalformedInput),
        (b"a: " + b"9" * 30, InvalidInput),
        (b"a: " + b"x" * MAX_YAML, TooLarge),
    ],
)
def test_yaml_that_means_no_json_is_refused(raw: bytes, error: type[Exception]):
    with pytest.raises(error):
        decode_yaml(raw)


@pytest.mark.parametrize("decode", [decode_json, decode_yaml])
def test_an_error_never_carries_the_text_of_the_parser(decode: Callable[[bytes], Any]):
    with pytest.raises(MalformedInput) as caught:
        decode(b"{secret: [")
    assert "secret" not in caught.value.message
