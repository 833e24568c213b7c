"""Datasets are cut and joined without copying a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace import Context, Node, Results
from headrace.datasets import cut, cuts, split_uri
from headrace.errors import MalformedStream, SourceError
from headrace.files import FileGuard
from headrace.streams import Opener
from headrace.testing import run_node
from headrace.urls import UrlGuard


class Numbers(Node):
    """Emits `count` numbers of 2 KB; a part is closed at every flush."""

    type = "numbers"
    part_bytes = 1000

    def configure(self, ctx: Context) -> Any:
        return range(ctx.config["count"])

    def execute(self, ctx: Context, record: int) -> dict[str, Any]:
        return {"n": record, "padding": "." * 2000}


@pytest.fixture
def numbers(tmp_path: Path) -> str:
    """The URI of a dataset of 2,000 numbers in several parts."""
    outcome = run_node(Numbers, config={"count": 2000}, data_dir=tmp_path)
    assert len(list(tmp_path.rglob("0*.ndjson"))) > 3
    return outcome.metadata["uri"]


@pytest.fixture
def opener(tmp_path: Path) -> Opener:
    return Opener(FileGuard([str(tmp_path)]), UrlGuard())


def ns(opener: Opener, uri: str) -> list[int]:
    return [record["n"] for record in opener.open(uri)]


def test_a_dataset_knows_its_length_and_gives_its_records_in_order(opener: Opener, numbers: str) -> None:
    assert opener.open(numbers).total == 2000
    assert ns(opener, numbers) == list(range(2000))


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 0), (0, 1), (499, 1501), (1999, 2000), (1990, 9000), (3000, 4000)]
)
def test_a_range_gives_exactly_its_records(opener: Opener, numbers: str, start: int, stop: int) -> None:
    uri = f"{numbers}#records={start}-{stop}"
    expected = list(range(2000))[start:stop]
    assert ns(opener, uri) == expected
    assert opener.open(uri).total == len(expected)


def test_parts_before_a_range_are_not_even_opened(opener: Opener, numbers: str, tmp_path: Path) -> None:
    next(tmp_path.rglob("000000.ndjson")).unlink()
    assert ns(opener, f"{numbers}#records=1900-1903") == [1900, 1901, 1902]


def test_cutting_is_arithmetic_on_the_uri() -> None:
    assert cuts("file:a", 5, 2) == ["file:a#records=0-2", "file:a#records=2-4", "file:a#records=4-5"]
    assert cuts("file:a", 0, 2) == []
    assert cut("file:a#records=10-20", 5, 50) == "file:a#records=15-20"
    assert split_uri("file:a#records=10-") == ("file:a", 10, None)


class Halves(Node):
    """Joins the two halves of a dataset the other way round, and publishes a list of its own."""

    type = "halves"

    def output(self, ctx: Context, results: Results) -> dict[str, Any]:
        first, second = ctx.split(ctx.inputs["numbers"]["uri"], 1000)
        joined = ctx.join("swapped.json", [second, first])
        own = ctx.publish("own.json", ({"n": n} for n in range(3)))
        return {"joined": joined.uri, "count": joined.count, "own": own.uri, "digest": own.digest}


def test_datasets_are_joined_by_reference(opener: Opener, numbers: str, tmp_path: Path) -> None:
    metadata = run_node(Halves, inputs={"numbers": {"uri": numbers}}, data_dir=tmp_path).metadata
    assert metadata["count"] == 2000
    assert ns(opener, metadata["joined"]) == [*range(1000, 2000), *range(1000)]
    assert ns(opener, f"{metadata['joined']}#records=999-1001") == [1999, 0]
    assert ns(opener, metadata["own"]) == [0, 1, 2]
    assert len(metadata["digest"]) == 64


def test_a_manifest_cannot_point_out_of_the_data_roots(opener: Opener, tmp_path: Path) -> None:
    body = '{"headrace":"dataset/1","format":"ndjson","records":1,"bytes":9,"sha256":null,"parts":[%s]}'
    for part in (
        '{"records":1,"path":"../../etc/passwd","bytes":9}',
        '{"records":1,"uri":"file:///etc/passwd"}',
    ):
        (tmp_path / "evil.json").write_text(body % part)
        with pytest.raises(SourceError):
            list(opener.open("file:evil.json"))


def test_a_dataset_that_contains_itself_is_refused(opener: Opener, tmp_path: Path) -> None:
    (tmp_path / "loop.json").write_text(
        '{"headrace":"dataset/1","format":"ndjson","records":1,"bytes":null,"sha256":null,'
        '"parts":[{"records":1,"uri":"file:loop.json"}]}'
    )
    with pytest.raises(MalformedStream, match="too deeply"):
        list(opener.open("file:loop.json"))


def test_a_part_that_was_cut_is_an_error_and_never_a_shorter_stream(
    opener: Opener, numbers: str, tmp_path: Path
) -> None:
    part = next(tmp_path.rglob("000001.ndjson"))
    part.write_bytes(part.read_bytes()[:-10])
    with pytest.raises(SourceError, match="shorter"):
        list(opener.open(numbers))
