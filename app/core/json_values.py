"""JSON values from outside: what is not one, or could not be kept, is refused.

400: not JSON (NaN and bad UTF-8 included, nesting deeper than MAX_DEPTH too). 422: JSON with a NUL, which
Redis and most programs below us would cut strings at. Duplicate members are tolerated, the last one counts, but
where a document is published: of two nodes with one name one would be lost without a word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import orjson

from app.errors import InvalidInput, MalformedInput, Place

MAX_DEPTH = 128
"""Levels of nesting; far above any real document, far below what would exhaust a recursive reader."""
_ESCAPED_NUL = b"\\u0000"


def decode_json(raw: bytes) -> Any:
    """The value of `raw`. Raises MalformedInput or InvalidInput."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if raw else "it is empty"
        raise MalformedInput(f"The body is not valid JSON ({place}).") from None
    if _ESCAPED_NUL in raw or (raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _is_deep(value)):
        check_value(value)
    return value


def _is_deep(value: Any) -> bool:
    """Whether check_value would find it nested too deep: level by level, at a fraction of the cost of a walk to every value."""
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (cast("dict[Any, Any]", outer).values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def decode_document(raw: bytes) -> Any:
    """The same of a document; a member that is given twice is invalid, too. Raises MalformedInput or InvalidInput.

    It is parsed twice: only orjson refuses NaN, bad UTF-8 and half surrogates, only json tells of repeated members. Doing
    without the first would save a few percent of a publication, whose checks cost far more, and its rules would be ours.
    """
    value = decode_json(raw)
    repeated: dict[int, tuple[Any, str]] = {}

    def keep(members: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(members)
        if len(made) != len(members):
            names = [name for name, _ in members]
            repeated[id(made)] = made, next(name for at, name in enumerate(names) if name in names[:at])
        return made

    root = json.loads(raw, object_pairs_hook=keep)
    if repeated:
        raise InvalidInput(
            places=[
                Place(path_pointer((path, repeated[id(item)][1])), "it is given twice")
                for path, item, _ in walk(root)
                if id(item) in repeated
            ]
        )
    return value


def kind_of(value: Any) -> str:
    """What a JSON value is, in words for its author: text, a number, a list, an object, true or false, null."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "an object"


def check_value(value: Any) -> None:
    """Refuse NUL (422, with its pointer) and deep nesting (400)."""
    for path, item, depth in walk(value):
        if depth >= MAX_DEPTH and isinstance(item, dict | list):
            raise MalformedInput(f"The body is nested more than {MAX_DEPTH} levels deep.")
        if isinstance(item, str) and "\0" in item:
            raise InvalidInput(places=[Place(path_pointer(path), "a NUL character is not allowed")])


Path = tuple["Path", str | int] | None
"""The way to a value, from its end: (way to its parent, its member or index)."""


def walk(root: Any) -> Iterator[tuple[Path, Any, int]]:
    """Every value and every member name below `root`, without recursion."""
    stack: list[tuple[Path, Any, int]] = [(None, root, 0)]
    while stack:
        path, value, depth = stack.pop()
        yield path, value, depth
        if isinstance(value, dict):
            for key, item in cast("dict[Any, Any]", value).items():
                yield (path, key), key, depth
                stack.append(((path, key), item, depth + 1))
        elif isinstance(value, list):
            for index, item in enumerate(cast("list[Any]", value)):
                stack.append(((path, index), item, depth + 1))


def path_pointer(path: Path) -> str:
    """The JSON pointer (RFC 6901) of a way."""
    parts: list[str] = []
    while path is not None:
        path, part = path
        parts.append(str(part).replace("~", "~0").replace("/", "~1").replace("\0", "\\u0000"))
    return "".join(f"/{part}" for part in reversed(parts))
