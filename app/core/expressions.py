"""Expressions: bare CEL (`when`, a string `over`) and `${{ }}` templates inside values.

The variables of an evaluation are one mapping:
`{"params": {...}, "nodes": {name: {"metadata": ..., "status": ...}}, "item": ..., "run": {...}, "event": ...}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from app.core.cel_program import program
from app.core.cel_source import MAX_BYTES, RESERVED, Path, analyse, check_node_path, template_end
from app.core.cel_values import BYTES_PER_UNIT, Missing, json_value, lookup, text_value, weigh
from app.core.effort import WORK, Work
from app.core.pointers import escape
from app.errors import ExpressionError

OPEN = "${{"
CACHED = 16_384
"""Sources and short texts kept in memory with what was found in them."""
MAX_CACHED_TEXT = 4_096
MAX_DEPTH = 200
"""Depth of a value with expressions in it."""
MAX_TEXT = 16 * 1024 * 1024
"""Bytes, more or less, that the expressions of one template may give together."""

Env = Mapping[str, Any]
PAGED = "$paged"
"""The member of an Env that names the maps whose items' metadata is by reference, so that no expression can read it."""

_PLAIN_PATH = re.compile(r"(?:params|nodes|item|run|event)(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_PLAIN_TEMPLATE = re.compile(r"\$\{\{ *([A-Za-z_][A-Za-z0-9_.]*) *\}\}")


class Expression:
    """One CEL expression. Made from its text without compiling; compiled when it is first evaluated, once per source.

    Raises ExpressionError when its text is refused. Use `expression(source)`, which shares equal ones.
    """

    __slots__ = ("items_of", "path", "reads", "roots", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.path = _plain_path(source)
        uses: tuple[Path, ...] = (self.path,) if self.path else ()
        if not self.path:
            found = analyse(source)
            self.path, uses = found.path, found.uses
        self.reads: frozenset[str] = frozenset(path[1] for path in uses if path[0] == "nodes")
        """Names of the nodes read."""
        self.roots: frozenset[str] = frozenset(path[0] for path in uses)
        """Which of params, nodes, item, run, event are read."""
        self.items_of: frozenset[str] = frozenset(
            path[1] for path in uses if path[0] == "nodes" and path[2:4] == ("metadata", "items")
        )
        """Names of the nodes whose metadata's `items` are read."""

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"

    def compile(self) -> None:
        """Compile now. Raises ExpressionError for a syntax error that only the compiler sees."""
        if self.path is None:
            program(self.source)

    def evaluate(self, env: Env, place: str = "") -> Any:
        """The value, as JSON. Raises ExpressionError that names `place` (a pointer or a field) and what is missing."""
        try:
            if self.items_of and PAGED in env:
                self._refuse_paged(env[PAGED])
            if self.path is not None:
                return lookup(env, self.path)
            return json_value(program(self.source).run(env))
        except Missing as missing:
            error = ExpressionError(f"{missing.dotted} does not exist", missing=missing.dotted)
        except ExpressionError as fault:
            error = fault
        raise self._at(place, error)

    def _refuse_paged(self, paged: Iterable[str]) -> None:
        for name in self.items_of.intersection(paged):
            what = f"nodes.{name}.metadata.items"
            raise ExpressionError(
                f"{what} is more than an expression reads: beyond 64 KiB it is a reference. A node that needs "
                f"'{name}' reads it item by item, and a map may go over it"
            )

    def _at(self, place: str, error: ExpressionError) -> ExpressionError:
        where = f"{place}: " if place else ""
        extra = {**error.extra, "place": place} if place else error.extra
        return ExpressionError(f"{where}{error.message} (in {shorten(self.source)})", **extra)


def _plain_path(source: str) -> Path | None:
    """The path of `nodes.a.metadata.uri`, by far the most common expression, without a tokenizer."""
    if len(source) > MAX_BYTES or not _PLAIN_PATH.fullmatch(source):
        return None
    path = tuple(source.split("."))
    if not RESERVED.isdisjoint(path):
        return None
    check_node_path(path)
    return path


def shorten(source: str) -> str:
    """An expression as error messages quote it: one line, at most 80 characters."""
    line = " ".join(source.split())
    return line if len(line) <= 80 else f"{line[:77]}..."


@lru_cache(maxsize=CACHED)
def expression(source: str) -> Expression:
    """The shared Expression of a source. Raises ExpressionError."""
    return Expression(source.strip())


def pieces(text: str) -> tuple[str | Expression, ...]:
    """Split `a ${{ x }} b` into text and expressions. Raises ExpressionError."""
    return _short_pieces(text) if len(text) <= MAX_CACHED_TEXT else _pieces(text)


def _pieces(text: str) -> tuple[str | Expression, ...]:
    if plain := _PLAIN_TEMPLATE.fullmatch(text):
        return (expression(plain[1]),)
    parts: list[str | Expression] = []
    at = 0
    while (start := text.find(OPEN, at)) >= 0:
        end = template_end(text, start + len(OPEN))
        if end < 0:
            raise ExpressionError("a ${{ is not closed by }}, or what is between is not CEL")
        if start > at:
            parts.append(text[at:start])
        parts.append(expression(text[start + len(OPEN) : end]))
        at = end + 2
    if at < len(text) or not parts:
        parts.append(text[at:])
    return tuple(parts)


_short_pieces = lru_cache(maxsize=CACHED)(_pieces)


def has_template(value: Any, depth: int = 0) -> bool:
    """Whether `${{` is anywhere in a JSON value, keys included. Raises ExpressionError beyond MAX_DEPTH."""
    if isinstance(value, str):
        return OPEN in value
    if not isinstance(value, (dict, list)):
        return False
    if depth > MAX_DEPTH:
        raise ExpressionError("the value is nested too deeply")
    if isinstance(value, dict):
        return any(OPEN in key or has_template(item, depth + 1) for key, item in value.items())
    return any(has_template(item, depth + 1) for item in value)


def find_expressions(value: Any, at: str = "") -> Iterator[tuple[str, Expression | ExpressionError]]:
    """Every expression inside a JSON value with the pointer of its text; a refused one as its error."""
    if isinstance(value, str):
        if OPEN in value:
            try:
                yield from ((at, part) for part in pieces(value) if isinstance(part, Expression))
            except ExpressionError as error:
                yield at, error
    elif isinstance(value, dict):
        for key, item in value.items():
            if OPEN in key:
                yield at, ExpressionError("an expression cannot stand in a key")
            yield from find_expressions(item, f"{at}/{escape(key)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from find_expressions(item, f"{at}/{index}")


class Template:
    """A JSON value with `${{ }}` in its texts. Alone in a text an expression keeps its type, else it becomes text.

    Raises ExpressionError when an expression in it is refused.
    """

    __slots__ = ("reads", "static", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.static: bool = not has_template(value)
        """Whether there is nothing to evaluate: `render` then gives the value itself."""
        self.reads: frozenset[str] = frozenset() if self.static else self._reads()
        """Names of the nodes read."""

    def _reads(self) -> frozenset[str]:
        names: set[str] = set()
        for _, found in find_expressions(self.value):
            if isinstance(found, ExpressionError):
                raise found
            names |= found.reads
        return frozenset(names)

    def __repr__(self) -> str:
        return f"Template({self.value!r})"

    def render(self, env: Env, place: str = "") -> Any:
        """The value with every expression evaluated. Raises ExpressionError that names `place` plus the pointer inside.

        Unchanged parts are shared with the document: do not modify the result.
        """
        if self.static:
            return self.value
        return _Rendering(env if WORK in env else {**env, WORK: Work()}).value(self.value, place)


class _Rendering:
    """One rendering of one template; counts what its expressions give."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.written = 0

    def value(self, value: Any, place: str) -> Any:
        if isinstance(value, str):
            return self.text(value, place) if OPEN in value else value
        if isinstance(value, dict):
            return {key: self.value(item, f"{place}/{escape(key)}") for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, f"{place}/{index}") for index, item in enumerate(value)]
        return value

    def text(self, text: str, place: str) -> Any:
        parts = pieces(text)
        if len(parts) == 1 and isinstance(parts[0], Expression):
            value = parts[0].evaluate(self.env, place)
            self.count(weigh(value) * BYTES_PER_UNIT, place)
            return value
        written: list[str] = []
        for part in parts:
            piece = part if isinstance(part, str) else text_value(part.evaluate(self.env, place))
            self.count(len(piece), place)
            written.append(piece)
        return "".join(written)

    def count(self, size: int, place: str) -> None:
        """Raises ExpressionError where all of it together is too much: a value that is read often is written often."""
        self.written += size
        if self.written > MAX_TEXT:
            raise ExpressionError(f"{place}: what the expressions give is longer than 16 MiB", place=place)
