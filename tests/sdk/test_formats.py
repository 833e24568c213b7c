"""NDJSON, JSON and CSV as streams."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import formats
from headrace.errors import MalformedRecord, MalformedStream, SourceError
from headrace.files import FileGuard
from headrace.streams import Opener
from headrace.urls import UrlGuard

Write = Callable[[str, bytes], Opener]

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write("feed.csv", b"…")` gives an opener that has that file below its root."""

    def store(name: str, content: bytes) -> Opener:
        (tmp_path / name).write_bytes(content)
        return Opener(FileGuard([str(tmp_path)]), UrlGuard())

    return store


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("feed.ndjson", b'{"id":"1"}\n\n{"id":"2"}\r\n'),
        ("feed.jsonl", b'\xef\xbb\xbf{"id":"1"}\n{"id":"2"}'),
        ("feed.json", b' [ {"id":"1"} , {"id":"2"} ] '),
        ("two-values.json", b'{"id":\n"1"}\n{"id":"2"}'),
        ("feed.csv", b"id\n1\n2\n"),
        ("feed.tsv", b"\xef\xbb\xbfid\r\n1\r\n2\r\n"),
        ("feed", b'[{"id":"1"},{"id":"2"}]'),
        ("other", b'{"id":"1"}\n{"id":"2"}\n'),
        ("table", b"id\n1\n2\n"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_format_is_known_by_name_or_content_packed_or_not(
    write: Write, name: str, content: bytes, packed: bool
) -> None:
    name, content = (name + ".gz", gzip.compress(content)) if packed else (name, content)
    stream = write(name, content).open(f"file:{name}")
    assert list(stream) == [{"id": "1"}, {"id": "2"}]
    assert list(stream.read(1)) == [{"id": "2"}]


def test_one_bad_line_is_one_bad_record(write: Write) -> None:
    stream = write("feed.ndjson", b'{"n":1}\n{"n":\n{"n":3}\n').open("file:feed.ndjson")
    first, second, third = stream.read()
    assert (first, third) == ({"n": 1}, {"n": 3})
    assert isinstance(second, formats.Bad)
    with pytest.raises(MalformedRecord):
        list(stream)


def test_skipping_counts_bad_lines_but_no_blank_ones(write: Write) -> None:
    stream = write("feed.ndjson", b'{"n":1}\n\n{"n":\n  \n{"n":3}\n').open("file:feed.ndjson")
    assert list(stream.read(2)) == [{"n": 3}]


@pytest.mark.parametrize("header", ["a;b", "a\tb", "a|b", "a,b"])
def test_the_delimiter_of_a_table_is_taken_from_its_header(write: Write, header: str) -> None:
    mark = header[1]
    content = f'{header}\n"x{mark}y"{mark}"two\nlines"\n1\n'.encode()
    assert list(write("t.csv", content).open("file:t.csv")) == [
        {"a": f"x{mark}y", "b": "two\nlines"},
        {"a": "1", "b": None},
    ]


def test_a_row_longer_than_its_header_is_a_bad_record(write: Write) -> None:
    good, bad = write("t.csv", b"a,b\n1,2\n1,2,3\n").open("file:t.csv").read()
    assert good == {"a": "1", "b": "2"}
    assert isinstance(bad, formats.Bad)


def test_a_column_named_twice_is_refused(write: Write) -> None:
    with pytest.raises(MalformedStream):
        list(write("t.csv", b"a,a\n1,2\n").open("file:t.csv"))


@pytest.mark.parametrize(
    "content", [b"[1,2", b"[1 2]", b"[1,]", b"[1,2] x", b'["\xff"]', b"[NaN]", b"[" * 100_000]
)
def test_json_that_breaks_off_is_refused_and_no_retry_helps(write: Write, content: bytes) -> None:
    with pytest.raises(MalformedStream) as refused:
        list(write("f.json", content).open("file:f.json"))
    assert not refused.value.retryable


def test_an_endless_line_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_RECORD", 1000)
    endless = io.BytesIO(b"x" * 1_000_000)
    with pytest.raises(MalformedStream, match="longer than 1000"):
        list(formats.ndjson(endless))
    assert endless.tell() <= 2 * formats.CHUNK


def test_a_packed_file_that_was_cut_says_so(write: Write) -> None:
    content = gzip.compress(b'{"n":1}\n' * 1000)[:-20]
    with pytest.raises(SourceError, match="broke off"):
        list(write("f.ndjson.gz", content).open("file:f.ndjson.gz"))


def test_an_unknown_scheme_or_fragment_is_refused(write: Write) -> None:
    opener = write("f.ndjson", b"{}\n")
    for uri in ("s3://bucket/f", "f.ndjson", "file:f.ndjson#rows=1-2"):
        with pytest.raises(MalformedStream):
            opener.open(uri)


def test_an_open_range_reads_to_the_end(write: Write) -> None:
    opener = write("f.ndjson", b'{"n":1}\n{"n":2}\n{"n":3}\n')
    assert list(opener.open("file:f.ndjson#records=1-")) == [{"n": 2}, {"n": 3}]
    assert list(opener.open("file:f.ndjson#records=1-2").read(1)) == []


class Dribble(io.BytesIO):
    """Gives a few bytes at a time, so that every value is cut somewhere."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(7)


@given(st.lists(values), st.integers(0, 3))
def test_a_json_array_read_in_pieces_equals_the_array_read_whole(array: list[Any], skip: int) -> None:
    for indent in (None, 1):
        text = json.dumps(array, indent=indent, ensure_ascii=False).encode()
        assert list(formats.json(Dribble(text), skip)) == array[skip:]


@given(st.lists(values), st.integers(0, 3))
def test_ndjson_read_in_pieces_equals_its_lines(records: list[Any], skip: int) -> None:
    text = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    assert list(formats.ndjson(Dribble(text), skip)) == records[skip:]
