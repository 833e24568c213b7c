"""catalog-read: a feed in any common format becomes a stream of products."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, BinaryIO, Final, Literal, cast

from pydantic import Field

from headrace import Context, MalformedRecord, Node, Results, SourceError, Stream
from headrace_nodes.formats import detect, json_array, lines, shopify, table
from headrace_nodes.forms import DataMetadata, Form
from headrace_nodes.products import load_json, normalise

CHUNK: Final = 256 * 1024
_DATASET: Final = b'{"headrace":"dataset/'


class CatalogRead(Node):
    """Reads a brand's feed (NDJSON, JSON, CSV or a Shopify export) as products"""

    type = "catalog-read"
    title = "Read catalog"
    icon = "book-open"
    category = "Catalog"

    class Config(Form):
        uri: str = Field(
            title="Feed",
            description="file: below the data roots, http: or https:; also gzip",
            min_length=1,
        )
        format: Literal["auto", "ndjson", "json", "csv", "shopify-csv"] = Field(
            "auto", title="Format", description="auto looks at the first bytes"
        )
        currency: str = Field(
            "EUR",
            title="Currency",
            description="ISO code for prices that name none; a Shopify export never does",
            pattern="^[A-Z]{3}$",
        )

    class Metadata(DataMetadata):
        format: str = Field(title="Format", description="The format that was read")

    def configure(self, ctx: Context) -> Stream:
        """The raw records of the feed; what is wrong with one of them fails only that one, in `execute`."""
        form = _format(ctx)

        def read(skip: int) -> Iterator[Any]:
            ctx.state["format"] = form
            records = ctx.open(ctx.config.uri).read() if form == "dataset" else _raw(ctx, form)
            yield from islice(records, skip, None)

        return Stream(ctx.config.uri, None, read)

    def execute(self, ctx: Context, record: Any) -> dict[str, Any]:
        """One raw record as a product."""
        currency = ctx.config.currency
        if isinstance(record, bytes):
            return normalise(load_json(record), currency)
        if isinstance(record, list):
            return shopify.product(cast("list[table.Row]", record), currency)
        if not isinstance(record, dict):
            raise MalformedRecord("not a product object")
        return normalise(cast("dict[str, Any]", record), currency)

    def output(self, ctx: Context, results: Results) -> Metadata:
        """Where the products lie."""
        form = str(results.state["format"])
        return self.Metadata(uri=results.uri, count=results.count, failed=results.failed, format=form)

    def key(self, record: Any) -> str | None:
        """The id of a raw record that failed, where it can be told."""
        if isinstance(record, list):
            return cast("list[table.Row]", record)[0].get("Handle")
        try:
            return super().key(load_json(record) if isinstance(record, bytes) else record)
        except MalformedRecord:
            return None


def _format(ctx: Context) -> str:
    """The configured format; with `auto`, what the first bytes say."""
    with _opened(ctx) as file:
        head = _start(file, detect.HEAD)
    if ctx.config.format == "auto" and head.startswith(_DATASET):
        return "dataset"
    return detect.detect(head) if ctx.config.format == "auto" else ctx.config.format


def _raw(ctx: Context, form: str) -> Iterator[Any]:
    try:
        with _opened(ctx) as file:
            chunks = iter(lambda: file.read(CHUNK), b"")
            if form == "ndjson":
                yield from lines.lines(chunks)
            elif form == "json":
                yield from json_array.elements(chunks)
            elif form == "csv":
                yield from map(table.flat, table.rows(chunks))
            else:
                yield from shopify.grouped(table.rows(chunks))
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"reading the feed broke off: {type(error).__name__}") from error


@contextmanager
def _opened(ctx: Context) -> Generator[BinaryIO]:
    """The feed's bytes, unpacked where they are gzip."""
    with ctx.open_binary(ctx.config.uri) as file:
        if _start(file, 2) != b"\x1f\x8b":
            yield file
            return
        with gzip.GzipFile(fileobj=file) as packed:
            yield cast("BinaryIO", packed)


def _start(file: BinaryIO, length: int) -> bytes:
    """The first bytes, left to be read."""
    return cast("io.BufferedReader", file).peek(length)[:length]


if __name__ == "__main__":
    CatalogRead.main()
