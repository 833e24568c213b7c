"""What is wrong with a document, in our words and with JSON pointers: from pydantic's errors, and from a first look
at texts and numbers that no document may hold."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from pydantic import ValidationError

from app.core.cel_source import RESERVED
from app.core.pointers import Problems, pointer, suggest
from app.core.spec_fields import NODE_NAME_PATTERN, Part
from app.core.spec_nodes import (
    Approval,
    Cache,
    ChildWorkflow,
    Defaults,
    Map,
    Need,
    Pool,
    Retry,
    Service,
    Timeout,
    Wait,
)
from app.core.spec_triggers import EventTrigger, RunTrigger, Schedule, Trigger, Webhook

MAX_DEPTH = 64
"""Depth of a document; deeper ones are refused before anything walks them."""

_NODE_NAME = re.compile(NODE_NAME_PATTERN.removesuffix("$"))
_OWNERS: dict[str, type[Part]] = {
    "retry": Retry, "timeout": Timeout, "defaults": Defaults, "needs": Need, "map": Map, "pools": Pool,
    "service": Service, "workflow": ChildWorkflow, "approval": Approval, "wait": Wait, "cache": Cache,
    "triggers": Trigger, "webhook": Webhook, "schedule": Schedule, "event": EventTrigger, "run": RunTrigger,
}  # fmt: skip
"""Which model describes the object below a field, for suggestions."""
_WORDS = {
    "string_type": "must be text",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "list_type": "must be a list",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "finite_number": "must be a finite number",
}
_HINTS = (
    (
        r"^[a-z][a-z0-9-]{0,62}$",
        "must be lower-case letters, digits and -, beginning with a letter, at most 63",
    ),
    (r"^[a-z][a-z0-9-]{0,62}(@", "must be the name of a node type, or name@version; no expression"),
    (NODE_NAME_PATTERN, "must be lower-case letters, digits and _, beginning with a letter, at most 63"),
    (r"^[a-z][a-z0-9_.-]", "must be the name of a pool; no expression"),
    (r"^[a-z0-9]([a-z0-9.-]", "must be the name of a secret; no expression"),
    (r"^[A-Za-z0-9][A-Za-z0-9._/:@-]", "must be the name of an image; no expression"),
    (r"^https?://", "must be an http or https URL; no expression in its scheme or host, no user in it"),
    (r"^\S+( \S+)", "must be five fields of cron: 0 2 * * *"),
)


def clean(raw: Mapping[str, Any], problems: Problems) -> None:
    """Refuse NUL, broken Unicode, NaN and infinity, keys that are not text, and nesting beyond MAX_DEPTH."""
    waiting: list[tuple[Any, tuple[Any, ...] | None, int]] = [(raw, None, 0)]
    while waiting and not problems.full:
        value, path, depth = waiting.pop()
        if isinstance(value, str):
            _text(value, path, problems)
        elif isinstance(value, float):
            if not math.isfinite(value):
                problems.add(_pointer(path), "must be a finite number")
        elif isinstance(value, (dict, list)):
            if depth > MAX_DEPTH:
                problems.add(_pointer(path), f"nested more than {MAX_DEPTH} deep")
                continue
            entries = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in entries:
                if isinstance(value, dict):
                    _key(key, path, problems)
                if item is not None and not isinstance(item, (bool, int)):
                    waiting.append((item, (path, key), depth + 1))
        elif value is not None and not isinstance(value, (bool, int)):
            problems.add(_pointer(path), "is not JSON (in YAML, put a date or a time in quotes)")


def _pointer(path: tuple[Any, ...] | None) -> str:
    parts: list[Any] = []
    while path is not None:
        path, key = path
        parts.append(key)
    return pointer(*reversed(parts))


def _key(key: Any, path: tuple[Any, ...] | None, problems: Problems) -> None:
    if isinstance(key, str):
        _text(key, path, problems)
    else:
        problems.add(_pointer(path), f"the key {str(key)[:40]} must be text; put it in quotes")


def _text(text: str, path: tuple[Any, ...] | None, problems: Problems) -> None:
    if "\0" in text:
        problems.add(_pointer(path), "holds a NUL character")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        problems.add(_pointer(path), "holds half a surrogate pair, which is no character")


def name_problem(name: str) -> str | None:
    """Why a node cannot be called this, or None."""
    if not _NODE_NAME.fullmatch(name):
        return f"a node's name {_HINTS[2][1]}"
    return f"'{name}' is a reserved word of CEL; choose another name" if name in RESERVED else None


def add_problems(
    error: ValidationError, raw: Any, prefix: tuple[str, ...], model: type[Part], problems: Problems
) -> None:
    """Add each error of a validation of `raw`, found below the path `prefix` of the document."""
    seen: set[str] = set()
    for item in error.errors(include_url=False, include_context=True):
        missing = item["type"] == "missing"
        path = _path(item["loc"], raw)
        at = pointer(*prefix, *path)
        if at in seen and not missing:
            continue
        seen.add(at)
        problems.add(at, _detail(item, path, model))
        if problems.full:
            return


def _path(location: tuple[int | str, ...], raw: Any) -> list[int | str]:
    """A location without pydantic's own parts (names of union members): what leads somewhere in the document."""
    path: list[int | str] = []
    value = raw
    for part in location:
        if isinstance(value, Mapping):
            holds = part in value
        else:
            holds = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if holds:
            path.append(part)
            value = cast("Any", value)[part]
    return path


def _detail(item: Any, path: list[int | str], model: type[Part]) -> str:
    owner = next((_OWNERS[str(part)] for part in reversed(path[:-1]) if part in _OWNERS), model)
    return sentence(item, owner.model_fields)


def sentence(item: Any, fields: Iterable[str]) -> str:
    """What one error of pydantic's says, in our words; `fields` are those that the object at its place may have."""
    kind: str = item["type"]
    context: dict[str, Any] = item.get("ctx", {})
    name = str(item["loc"][-1]) if item["loc"] else ""
    if kind == "extra_forbidden":
        return f"unknown field '{name[:100]}'{suggest(name, fields)}"
    if kind == "missing":
        return f"the field '{name}' is required"
    if kind == "string_pattern_mismatch":
        pattern: str = context.get("pattern", "")
        return next((hint for start, hint in _HINTS if pattern.startswith(start)), f"must match {pattern}")
    if kind == "literal_error":
        return f"must be {context.get('expected', 'another value')}"
    text = re.sub(r"^(Input|String|List|Dictionary|Value) should", "must", item["msg"])
    return _WORDS.get(kind) or re.sub(r" after validation, not .*$", "", text)
