"""What people hand to commands: workflow documents in YAML or JSON, and `-p name=value` parameters."""

from __future__ import annotations

import json
import sys
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from app.errors import MalformedInput, UsageError


class _Loader(yaml.SafeLoader):
    """YAML as JSON would hold it: no dates, and a key given twice is an error instead of a silent loss."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set[str]()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_text(path: str) -> str:
    """The text of a file, or of stdin for `-`. Raises UsageError where it cannot be read."""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read {path}: {reason}") from error


def read_document(path: str) -> Any:
    """A JSON value from a file of YAML or JSON, or from stdin for `-`. Raises MalformedInput."""
    text = read_text(path)
    name = "stdin" if path == "-" else path
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
        return json.loads(json.dumps(value, allow_nan=False))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise MalformedInput(f"{where}: {error.problem or error.context}") from error
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise MalformedInput(f"{name} is neither YAML nor JSON that a workflow can hold") from error


def read_object(path: str) -> dict[str, Any]:
    """A JSON object from a file. Raises MalformedInput for anything else."""
    value = read_document(path)
    if not isinstance(value, dict):
        what = (
            "it is empty"
            if value is None
            else "it holds a list"
            if isinstance(value, list)
            else "it holds a single value"
        )
        raise MalformedInput(f"{'stdin' if path == '-' else path} must hold an object: {what}")
    return value


def parse_params(pairs: Iterable[str], file: str | None = None) -> dict[str, Any]:
    """Parameters from a file, over them those of `name=value`; a value that is JSON keeps its type."""
    params = read_object(file) if file else {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise UsageError(f"{pair!r} is not name=value")
        params[name] = _value(value)
    return params


def parse_labels(pairs: Iterable[str]) -> dict[str, str]:
    """Labels from `name=value`."""
    labels: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise UsageError(f"{pair!r} is not name=value")
        labels[name] = value
    return labels


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda constant: constant)
    except ValueError:
        return text
