"""Turning bytes into JSON values, and refusing what is not one.

400: not JSON (NaN and bad UTF-8 included, nesting deeper than MAX_DEPTH too). 422: JSON with a NUL, which
Redis and most programs below us would cut strings at. Duplicate members are tolerated: the last one counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import orjson
import yaml

from app.errors import InvalidInput, MalformedInput, Place, TooLarge

MAX_DEPTH = 128
"""Levels of nesting; far above any real document, far below what would exhaust a recursive reader."""
MAX_YAML = 1 << 20
"""Bytes of a YAML document: its parser is slow, so large workflows are sent as JSON."""
_ESCAPED_NUL = b"\\u0000"


def decode_json(raw: bytes) -> Any:
    """The value of `raw`. Raises MalformedInput or InvalidInput."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if raw else "it is empty"
        raise MalformedInput(f"The body is not valid JSON ({place}).") from None
    if _ESCAPED_NUL in raw or raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        check_value(value)
    return value


def check_value(value: Any) -> None:
    """Refuse NUL (422, with its pointer) and deep nesting (400)."""
    for path, item, depth in _walk(value):
        if depth >= MAX_DEPTH and isinstance(item, dict | list):
            raise MalformedInput(f"The body is nested more than {MAX_DEPTH} levels deep.")
        if isinstance(item, str) and "\0" in item:
            raise InvalidInput(places=[Place(pointer(path), "a NUL character is not allowed")])


Path = tuple["Path", str | int] | None
"""The way to a value, from its end: (way to its parent, its member or index)."""


def _walk(root: Any) -> Iterator[tuple[Path, Any, int]]:
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


def pointer(path: Path) -> str:
    """The JSON pointer (RFC 6901) of a way."""
    parts: list[str] = []
    while path is not None:
        path, part = path
        parts.append(str(part).replace("~", "~0").replace("/", "~1").replace("\0", "\\u0000"))
    return "".join(f"/{part}" for part in reversed(parts))


class _Loader(yaml.CSafeLoader):
    """YAML's JSON subset: dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def decode_yaml(raw: bytes) -> Any:
    """The value of a YAML document as JSON would have it.

    Aliases are refused: a few bytes of them can mean gigabytes.

    Raises MalformedInput, InvalidInput, TooLarge.
    """
    if len(raw) > MAX_YAML:
        raise TooLarge(f"A YAML document may have {MAX_YAML} bytes; send a larger one as JSON.")
    try:
        text = raw.decode("utf-8")
        _check_events(text)
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except UnicodeDecodeError:
        raise MalformedInput("The body is not valid UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise MalformedInput(f"The body is not valid YAML{place}.") from None
    except (yaml.YAMLError, ValueError, TypeError):
        raise MalformedInput("The body is not valid YAML.") from None
    _check_json_types(value)
    return value


def _check_events(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise InvalidInput(
                places=[Place("", f"the alias *{event.anchor} is not allowed; write the value out")]
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise MalformedInput(f"The body is nested more than {MAX_DEPTH} levels deep.")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_json_types(root: Any) -> None:
    for path, value, _ in _walk(root):
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidInput(places=[Place(pointer(path), "a finite number is expected")])
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
            raise InvalidInput(places=[Place(pointer(path), "a number of at most 64 bits is expected")])
        if value is not None and not isinstance(value, str | int | float | list | dict):
            raise InvalidInput(places=[Place(pointer(path), "JSON has no such type; quote the value")])
        if isinstance(value, dict) and any(not isinstance(key, str) for key in cast("dict[Any, Any]", value)):
            raise InvalidInput(places=[Place(pointer(path), "every member name must be text; quote it")])
    check_value(root)
