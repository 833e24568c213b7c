"""What a CEL expression reads, found without running it: a tokenizer of CEL and one pass over its tokens.

Everything that could read more than its text shows is refused here: a bare `nodes`, a dynamic index into it, a
variable or function that does not exist, macros inside macros.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from app.core.pointers import suggest
from app.errors import ExpressionError

MAX_BYTES = 2_048
ROOTS = frozenset({"params", "nodes", "item", "run", "event"})
TYPES = frozenset({"int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type"})
MACROS = frozenset({"map", "filter", "all", "exists", "exists_one"})
CONVERSIONS = frozenset({"int", "uint", "double", "string", "bytes", "timestamp", "duration", "type", "dyn"})
FUNCTIONS = CONVERSIONS | {"size", "has", "matches"}
DATES = frozenset(
    f"get{part}"
    for part in (
        "FullYear",
        "Month",
        "DayOfYear",
        "DayOfMonth",
        "Date",
        "DayOfWeek",
        "Hours",
        "Minutes",
        "Seconds",
    )
) | {"getMilliseconds"}
METHODS = DATES | MACROS | {"size", "contains", "startsWith", "endsWith", "matches"}
RESERVED = frozenset(
    {
        "in",
        "true",
        "false",
        "null",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
    }
    | {"let", "loop", "package", "namespace", "return", "var", "void", "while"}
)
"""Words that CEL keeps for itself; a node cannot have one as its name."""

_TOKEN = re.compile(
    r"""(?P<skip>[ \t\r\n\f]+|//[^\n]*)
    |(?P<string>
        [bB]?[rR](?:\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|"[^"\r\n]*"|'[^'\r\n]*')
       |[bB]?(?:\"\"\"(?:\\[\s\S]|[^\\])*?\"\"\"|'''(?:\\[\s\S]|[^\\])*?'''
               |"(?:\\.|[^"\\\r\n])*"|'(?:\\.|[^'\\\r\n])*'))
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|[0-9]+[uU]?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<op>&&|\|\||[=!<>]=|[-+*/%!?:,.()\[\]{}<>])""",
    re.VERBOSE,
)
_ENDS_OPERAND = frozenset(")]}")

Path = tuple[str, ...]


class Token(NamedTuple):
    """`kind` is string, number, name, op or end; `start` and `end` are offsets into the source."""

    kind: str
    text: str
    start: int
    end: int


class Macro(NamedTuple):
    """A call `.kind(variable, argument[, argument])`; `span` is from `kind` to behind the closing parenthesis."""

    kind: str
    variable: str
    arguments: tuple[str, ...]
    span: tuple[int, int]


class Analysis(NamedTuple):
    """What is known of an expression from its text alone."""

    path: Path | None
    """The path, if the whole expression is one (`nodes.split.metadata.parts`): then no CEL is needed."""
    uses: tuple[Path, ...]
    """Every static path read, one entry for each time it is written, macro bodies included."""
    outer: tuple[Path, ...]
    """The same without the bodies of macros."""
    macros: tuple[Macro, ...]
    calls: tuple[tuple[str, int], ...]
    """Functions and methods called outside macro bodies, with their offsets."""
    additions: int
    """How many `+` are outside macro bodies."""
    bound: int
    """How often a free variable that is no root occurs: inside a macro's body, its variable."""


def tokenize(source: str, start: int = 0) -> list[Token]:
    """All tokens from `start` on, comments and blanks left out. Raises ExpressionError with the column."""
    tokens: list[Token] = []
    at = start
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise ExpressionError(f"unexpected character at column {at + 1}")
        if match.lastgroup != "skip":
            tokens.append(Token(match.lastgroup or "", match[0], at, match.end()))
        at = match.end()
    return tokens


def template_end(text: str, start: int) -> int:
    """The offset of the `}}` that closes a template whose expression begins at `start`, or -1."""
    depth = 0
    at = start
    while at < len(text):
        if depth == 0 and text.startswith("}}", at):
            return at
        match = _TOKEN.match(text, at)
        if match is None:
            return -1
        if match.lastgroup == "op":
            depth += {"{": 1, "}": -1}.get(match[0], 0)
        at = match.end()
    return -1


def literal_text(token: Token) -> str | None:
    """The value of a plain string literal; None for bytes, for escapes and for anything else."""
    if token.kind != "string" or token.text[0] in "bB":
        return None
    text = token.text.lstrip("rR")
    if "\\" in text:
        return None
    return text[3:-3] if text[:3] in ('"""', "'''") else text[1:-1]


def analyse(source: str, variables: frozenset[str] = frozenset()) -> Analysis:
    """Read an expression; `variables` are the macro variables in scope. Raises ExpressionError saying why it is refused."""
    if len(source.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ExpressionError("an expression is at most 2 KiB")
    if "${{" in source:
        raise ExpressionError("write this expression without ${{ }}")
    tokens = tokenize(source)
    if not tokens:
        raise ExpressionError("an expression is empty")
    return _Reader(source, tokens, variables).read()


class _Reader:
    """One pass over the tokens of one expression."""

    def __init__(self, source: str, tokens: list[Token], variables: frozenset[str]) -> None:
        self.source = source
        self.tokens = tokens
        self.variables = variables
        self.at = 0
        self.outer: list[Path] = []
        self.inner: list[Path] = []
        self.macros: list[Macro] = []
        self.calls: list[tuple[str, int]] = []
        self.additions = 0
        self.bound = 0

    def peek(self, offset: int = 0) -> str:
        """The text of an operator or name ahead; empty at the end and for literals."""
        index = self.at + offset
        if index < len(self.tokens) and self.tokens[index].kind in ("op", "name"):
            return self.tokens[index].text
        return ""

    def read(self) -> Analysis:
        path = self._whole_path()
        self.at = 0
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token.kind == "name" and token.text not in ("true", "false", "null", "in"):
                self._name(token)
            else:
                if token.text == "." and not self._after_operand():
                    raise ExpressionError(f"unexpected '.' at column {token.start + 1}")
                self.additions += token.kind == "op" and token.text == "+"
                self.at += 1
        uses = (*self.outer, *self.inner)
        return Analysis(
            path, uses, tuple(self.outer), tuple(self.macros), tuple(self.calls), self.additions, self.bound
        )

    def _whole_path(self) -> Path | None:
        if self.tokens[0].text not in ROOTS or self.tokens[0].text in self.variables:
            return None
        path = self._path()
        return path if self.at == len(self.tokens) else None

    def _after_operand(self) -> bool:
        if self.at == 0:
            return False
        before = self.tokens[self.at - 1]
        if before.kind == "op":
            return before.text in _ENDS_OPERAND
        return before.text != "in"

    def _name(self, token: Token) -> None:
        is_field = self.at > 0 and self.tokens[self.at - 1].text == "."
        if self.peek(1) == "(":
            self._call(token, method=is_field)
        elif is_field:
            self.at += 1
        elif token.text in self.variables:
            self.bound += 1
            self.at += 1
        elif token.text in ROOTS:
            self.outer.append(self._path())
        elif token.text in TYPES:
            self.at += 1
        else:
            hint = suggest(token.text, ROOTS | self.variables)
            raise ExpressionError(
                f"'{token.text[:100]}' is no variable{hint or '; there are ' + ', '.join(sorted(ROOTS))}"
            )

    def _call(self, token: Token, *, method: bool) -> None:
        known = METHODS if method else FUNCTIONS
        if token.text not in known:
            raise ExpressionError(f"'{token.text[:100]}' is no function{suggest(token.text, known)}")
        if method and token.text in MACROS:
            self._macro(token)
        else:
            self.calls.append((token.text, token.start))
            self.at += 1

    def _path(self) -> Path:
        """Read `root.field["key"]...` as far as it is static, and leave `at` behind it."""
        parts = [self.tokens[self.at].text]
        self.at += 1
        while True:
            if self.peek() == "." and self.peek(1) and self.peek(2) != "(":
                parts.append(self._field(self.tokens[self.at + 1]))
                self.at += 2
            elif self.peek() == "[" and self.peek(2) == "]" and (key := self._key()) is not None:
                parts.append(key)
                self.at += 3
            else:
                break
        check_node_path(parts)
        return tuple(parts)

    def _field(self, token: Token) -> str:
        if token.kind != "name" or token.text in ("in", "true", "false", "null"):
            raise ExpressionError(f"'{token.text}' cannot follow a dot; write [\"{token.text}\"]")
        return token.text

    def _key(self) -> str | None:
        return literal_text(self.tokens[self.at + 1])

    def _macro(self, token: Token) -> None:
        if self.variables:
            raise ExpressionError(f"macros are at most one deep: '{token.text}' is inside another one")
        close, commas = self._closing(self.at + 1)
        if (
            self.at + 2 >= len(self.tokens)
            or self.tokens[self.at + 2].kind != "name"
            or commas[:1] != [self.at + 3]
        ):
            raise ExpressionError(f"'{token.text}' takes a variable and an expression: {token.text}(x, ...)")
        variable = self.tokens[self.at + 2].text
        if variable in ROOTS or variable in RESERVED or variable in TYPES:
            raise ExpressionError(f"the variable of '{token.text}' cannot be called '{variable}'")
        if len(commas) > (2 if token.text == "map" else 1):
            raise ExpressionError(f"'{token.text}' has too many arguments")
        bounds = [*commas, close]
        arguments: list[str] = []
        for left, right in pairwise(bounds):
            body = self.source[self.tokens[left].end : self.tokens[right].start]
            arguments.append(body)
            self.inner.extend(analyse(body, frozenset({variable})).uses)
        self.macros.append(
            Macro(token.text, variable, tuple(arguments), (token.start, self.tokens[close].end))
        )
        self.at = close + 1

    def _closing(self, opening: int) -> tuple[int, list[int]]:
        """The index of the parenthesis that closes `opening`, and of the commas directly inside."""
        depth = 0
        commas: list[int] = []
        for index in range(opening, len(self.tokens)):
            token = self.tokens[index]
            if token.kind != "op":
                continue
            if token.text in "([{":
                depth += 1
            elif token.text in ")]}":
                depth -= 1
                if depth == 0:
                    return index, commas
            elif token.text == "," and depth == 1:
                commas.append(index)
        raise ExpressionError("a parenthesis is not closed")


def check_node_path(parts: Sequence[str]) -> None:
    """Raises ExpressionError unless a path that begins with `nodes` names a node and then metadata or status."""
    if parts[0] != "nodes":
        return
    if len(parts) < 2:
        raise ExpressionError(
            "write nodes.NAME: 'nodes' alone, or with an index that is computed, is not allowed"
        )
    if len(parts) > 2 and parts[2] not in ("metadata", "status"):
        meant = ".".join(["nodes", parts[1], "metadata", *parts[2:]])
        raise ExpressionError(f"a node has metadata and status, not '{parts[2]}'; did you mean {meant}?")
