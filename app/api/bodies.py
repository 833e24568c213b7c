"""YAML bodies as the JSON values that they stand for; JSON itself is read by app.core.json_values."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any, cast

import yaml

from app.core.json_values import MAX_DEPTH, check_value, path_pointer, walk
from app.errors import InvalidInput, MalformedInput, Place, TooLarge

MAX_YAML = 1 << 20
"""Bytes of a YAML document: its parser is slow, so large workflows are sent as JSON."""


class _Loader(yaml.CSafeLoader):
    """YAML's JSON subset: dates stay text, and a member that is given twice is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set[str]()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # no text, which is refused afterwards
            if key.value in seen:
                place = f"line {key.start_mark.line + 1}, column {key.start_mark.column + 1}"
                raise InvalidInput(places=[Place("", f"'{key.value[:100]}' is given twice ({place})")])
            seen.add(key.value)
        return super().construct_mapping(node, deep)


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
    for path, value, _ in walk(root):
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidInput(places=[Place(path_pointer(path), "a finite number is expected")])
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
            raise InvalidInput(places=[Place(path_pointer(path), "a number of at most 64 bits is expected")])
        if value is not None and not isinstance(value, str | int | float | list | dict):
            raise InvalidInput(places=[Place(path_pointer(path), "JSON has no such type; quote the value")])
        if isinstance(value, dict) and any(not isinstance(key, str) for key in cast("dict[Any, Any]", value)):
            raise InvalidInput(places=[Place(path_pointer(path), "every member name must be text; quote it")])
    check_value(root)
