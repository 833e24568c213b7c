"""Records into lines."""

from __future__ import annotations

from typing import Any

import orjson

from headrace.errors import MalformedRecord


def model(value: Any) -> Any:
    """What orjson does not know itself: pydantic models. Raises TypeError for everything else."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"a record may not hold a {type(value).__name__}")
    return dump(mode="json")


def line_of(record: Any) -> bytes:
    """One record as a line of NDJSON. Raises MalformedRecord where it is not JSON."""
    try:
        return orjson.dumps(record, model, orjson.OPT_APPEND_NEWLINE)
    except TypeError as error:
        raise MalformedRecord(f"not JSON: {error}") from error


def lines_of(result: Any) -> list[bytes]:
    """What `execute` returned as lines: None is no record, a list, tuple or generator several, anything else
    one."""
    if result is None:
        return []
    if isinstance(result, list | tuple) or hasattr(result, "__next__"):
        return [line_of(record) for record in result]
    return [line_of(result)]
