"""Catalog files, read as a stream in whatever pieces they arrive."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_nodes.formats import json_array, table
from headrace_nodes.formats.detect import detect
from headrace_nodes.formats.lines import FormatError, lines, texts

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """The bytes in pieces of `size`."""
    yield from (data[start : start + size] for start in range(0, len(data), size))


@given(st.lists(JSON, max_size=8), st.integers(1, 64), st.sampled_from([None, 2]), st.booleans())
def test_an_array_gives_its_elements_wherever_it_is_cut(
    values: list[object], size: int, indent: int, wrapped: bool
):
    document = json.dumps(
        {"products": values} if wrapped else values, indent=indent, ensure_ascii=False
    ).encode()
    assert [json.loads(element) for element in json_array.elements(cut(document, size))] == values


@pytest.mark.parametrize("text", [b"", b"{}", b'"x"', b'[{"a": 1}', b'[{"a": }]', b"[1, nope]"])
def test_a_broken_array_is_an_error_and_not_an_end(text: bytes):
    with pytest.raises(FormatError):
        list(json_array.elements([text]))


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=6), st.integers(1, 9)
)
def test_text_comes_whole_wherever_its_bytes_are_cut(words: list[str], size: int):
    data = "|".join(words).encode()
    assert "".join(texts(cut(data, size))) == data.decode().removeprefix("\ufeff")


def test_lines_come_without_byte_order_mark_and_without_empty_ones():
    assert list(lines([b"\xef\xbb", b"\xbfone\r\n\n  \ntw", b"o"])) == [b"one", b"two"]


@pytest.mark.parametrize("read", [lines, table.rows])
def test_an_endless_line_is_refused_before_it_fills_the_memory(
    read: Callable[[Iterable[bytes]], Iterable[object]],
):
    with pytest.raises(FormatError):
        list(read(b"x" * (1 << 20) for _ in range(1 << 20)))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_header_tells_the_delimiter(delimiter: str):
    text = delimiter.join(["id", "title"]) + "\n" + delimiter.join(["1", '"a\nb"']) + "\n"
    assert list(table.rows([text.encode()])) == [{"id": "1", "title": "a\nb"}]


@pytest.mark.parametrize("text", [b"", b"\n", b"id,id\n1,2\n"])
def test_a_table_without_a_usable_header_is_refused(text: bytes):
    with pytest.raises(FormatError):
        list(table.rows([text]))


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (b'\xef\xbb\xbf{"id": 1}\n{"id": 2}', "ndjson"),
        (b'  [\n{"id": 1}', "json"),
        (b'{"products": [', "json"),
        (b"id;title\n", "csv"),
        (b'"Handle","Title","Body (HTML)"\n', "shopify-csv"),
        (b"Title,URL handle,Description\n", "shopify-csv"),
    ],
)
def test_the_first_bytes_tell_the_format(head: bytes, form: str):
    assert detect(head) == form
