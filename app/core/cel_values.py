"""Between CEL's values and JSON: what goes in, what comes out, what it weighs."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from app.core.cel_source import Path
from app.core.durations import format_duration
from app.errors import ExpressionError

MAX_DEPTH = 64
"""Depth of a result; what CEL builds is at most a little deeper than what it reads."""
BYTES_PER_UNIT = 8


class Missing(Exception):
    """A path that leads nowhere; `dotted` is the part of it that does not exist."""

    def __init__(self, dotted: str) -> None:
        super().__init__(dotted)
        self.dotted = dotted


def dotted(path: Iterable[str]) -> str:
    """`("nodes", "a", "metadata")` -> `nodes.a.metadata`."""
    return ".".join(path)


def lookup(env: Mapping[str, Any], path: Path) -> Any:
    """The value at `path`. Raises Missing."""
    value: Any = env
    for position, key in enumerate(path):
        if not isinstance(value, Mapping) or key not in value:
            raise Missing(dotted(path[: position + 1]))
        value = value[key]
    return value


def prune(env: Mapping[str, Any], paths: Iterable[Path]) -> dict[str, Any]:
    """A copy of `env` with only what lies on `paths`: converting the rest for CEL would cost more than the expression."""
    pruned: dict[str, Any] = {}
    for path in sorted(set(paths), key=len):
        source: Any = env
        target = pruned
        for position, key in enumerate(path):
            if key not in source:
                break
            value = source[key]
            if position == len(path) - 1 or not isinstance(value, Mapping):
                target[key] = value
                break
            if target.get(key) is value:
                break
            target = target.setdefault(key, {})
            source = value
    return pruned


def weigh(value: Any) -> int:
    """How much work a value is for CEL: one unit an element, and one for each 8 bytes of text."""
    units = 0
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        units += 1
        if isinstance(item, (str, bytes)):
            units += len(item) // BYTES_PER_UNIT
        elif isinstance(item, dict):
            waiting.extend(item.values())
            units += len(item)
        elif isinstance(item, list):
            waiting.extend(item)
    return units


def json_value(value: Any, depth: int = 0) -> Any:
    """A result of CEL as JSON: instants and durations become text, bytes base64, maps are sorted by key (CEL keeps no
    order). Raises ExpressionError."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if depth > MAX_DEPTH:
        raise ExpressionError("the result is nested too deeply")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError("the result is not a finite number")
        return value
    if isinstance(value, list):
        return [json_value(item, depth + 1) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ExpressionError("the keys of a map must be text")
        return {key: json_value(value[key], depth + 1) for key in sorted(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise ExpressionError("the result is not a JSON value")


def duration_text(value: timedelta) -> str:
    """A duration as documents write it, whole milliseconds: `90s`; negative ones with a sign."""
    milliseconds = value // timedelta(milliseconds=1)
    return f"-{format_duration(-milliseconds)}" if milliseconds < 0 else format_duration(milliseconds)


def text_value(value: Any) -> str:
    """A value inside text: text as it is, everything else as JSON (`true`, `null`, `[1,2]`). Raises ExpressionError."""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        raise ExpressionError(
            "the value cannot stand in text: it is nested too deeply, or is not JSON"
        ) from None
