"""What commands print: a table for people, JSON or YAML for programs, and errors with their places."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from app.errors import HeadraceError, InputError, UsageError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_ERROR = 3
EXIT_INTERRUPTED = 130


class Format(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Output = Annotated[Format, typer.Option("--output", "-o", help="How to print the result.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print names or ids only, one a line.")]


def out() -> Console:
    """Where results go. Width, colour and NO_COLOR are found out anew, since tests replace stdout."""
    return Console(highlight=False, soft_wrap=False, emoji=False, markup=False)


def err() -> Console:
    """Where everything goes that is not a result."""
    return Console(stderr=True, highlight=False, emoji=False, markup=False)


def plain(value: object, *, lines: bool = False) -> str:
    """Text from elsewhere, safe on a terminal: control and format characters become visible escapes."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if text.isprintable():
        return text
    if lines and "\n" in text:  # most lines of a long log have nothing to escape
        return "\n".join(plain(line, lines=True) for line in text.split("\n"))
    keep = "\n\t" if lines else ""
    return "".join(
        c if c in keep or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else _escape(c)
        for c in text
    )


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def fields(record: Mapping[str, Any], names: Iterable[str]) -> Text:
    """Some members of a record, one a line; those without a value are left out."""
    shown = [(name, _cell(record[name])) for name in names if record.get(name) not in (None, "")]
    width = max((len(name) for name, _ in shown), default=0)
    return Text("\n").join(
        Text.assemble((f"{name:{width}}  ", "bright_black"), value) for name, value in shown
    )


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], *, right: Iterable[str] = ()) -> Table:
    """A borderless table; cells that are Text keep their style, other values are made safe."""
    aligned = set(right)
    grid = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        grid.add_column(column, justify="right" if column in aligned else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else Text(_cell(cell)) for cell in row))
    return grid


def _cell(value: object) -> str:
    return "" if value is None else plain(value)


def emit(
    data: Any,
    form: Format,
    view: Callable[[], RenderableType],
    *,
    quiet: bool = False,
    ids: Iterable[object] = (),
) -> None:
    """Print a result: `view` for people, `data` for programs, only `ids` when quiet."""
    if quiet:
        for name in ids:
            typer.echo(plain(name))
    elif form is Format.JSON:
        typer.echo(as_json(data))
    elif form is Format.YAML:
        typer.echo(as_yaml(data), nl=False)
    else:
        shown = view()
        # Lines of text are never broken: what they hold (URLs, keys) is copied.
        out().print(shown, soft_wrap=isinstance(shown, Text))


def as_json(data: Any) -> str:
    """A result as JSON, without a line's end."""
    return json.dumps(data, indent=2, ensure_ascii=not _utf8())


def as_yaml(data: Any) -> str:
    """A result as YAML, with a line's end."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=_utf8())


def _utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def say(message: str) -> None:
    """A remark to the person, on stderr."""
    err().print(Text(message))


def show_error(error: HeadraceError) -> int:
    """Print an error with its places on stderr; the exit code that goes with it."""
    console = err()
    console.print(Text.assemble(("error: ", "bold red"), plain(error.message, lines=True)))
    if isinstance(error, InputError):
        for pointer, detail in error.places:
            console.print(Text.assemble("  ", (plain(pointer) or "/", "bold"), "  ", plain(detail)))
    return EXIT_USAGE if isinstance(error, UsageError | InputError) else EXIT_ERROR
