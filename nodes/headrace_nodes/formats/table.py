"""CSV with a header row: each row a mapping from column name to cell."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Any

from headrace_nodes.formats.lines import MAX_RECORD, FormatError, text_lines

Row = dict[str, str]
_DELIMITERS = ",;\t"


def rows(chunks: Iterable[bytes]) -> Iterator[Row]:
    """Every row of the table as {column: cell}, empty rows left out; cells of columns without a name are
    dropped.

    The delimiter (comma, semicolon or tab) is the one that the header row has most of. Raises FormatError for
    an empty file, a header with the same column twice, or a cell beyond the bound.
    """
    source = text_lines(chunks)
    first = next(source, "")
    delimiter = max(_DELIMITERS, key=first.count)
    csv.field_size_limit(MAX_RECORD)
    reader = csv.reader(_again(first, source), delimiter=delimiter, strict=False)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check(header)
        columns = [(index, name) for index, name in enumerate(header) if name]
        for cells in reader:
            if any(cells):
                width = len(cells)
                yield {name: cells[index] for index, name in columns if index < width}
    except csv.Error as error:
        raise FormatError(f"line {reader.line_num}: {error}") from None


def _again(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _check(header: list[str]) -> None:
    if not any(header):
        raise FormatError("no header row")
    seen: set[str] = set()
    for name in header:
        if name and name in seen:
            raise FormatError(f"the column {name[:80]!r} is there twice")
        seen.add(name)


def flat(row: Row) -> dict[str, Any]:
    """A plain CSV row as a foreign record: cells stripped, empty ones left out."""
    return {name: text for name, cell in row.items() if (text := cell.strip())}
