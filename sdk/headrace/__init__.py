"""Write a Headrace node in Python: four steps, checkpointed, resumed after any crash.

Names are loaded on first use, so that a node's process starts quickly: `import headrace` reads neither an
HTTP
library nor pydantic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.context import Context
    from headrace.errors import (
        Blocked,
        Cancelled,
        Fatal,
        HeadraceError,
        MalformedRecord,
        MalformedStream,
        NonRetryable,
        Retry,
        SourceError,
        SourceMissing,
    )
    from headrace.node import Node
    from headrace.results import Results
    from headrace.streams import Stream

__version__ = "0.1.0"

_HOME = {
    "Node": "node",
    "Context": "context",
    "Results": "results",
    "Stream": "streams",
    **dict.fromkeys(
        (
            "Blocked",
            "Cancelled",
            "Fatal",
            "HeadraceError",
            "MalformedRecord",
            "MalformedStream",
            "NonRetryable",
            "Retry",
            "SourceError",
            "SourceMissing",
        ),
        "errors",
    ),
}

__all__ = [
    "Blocked",
    "Cancelled",
    "Context",
    "Fatal",
    "HeadraceError",
    "MalformedRecord",
    "MalformedStream",
    "Node",
    "NonRetryable",
    "Results",
    "Retry",
    "SourceError",
    "SourceMissing",
    "Stream",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module at first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"headrace.{_HOME[name]}"), name)
    globals()[name] = value
    return value
