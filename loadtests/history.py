"""What was done to a system under test and what came back: the record that an oracle judges.

Every operation is an `invoke` and, later, one of `ok` (it happened), `fail` (it did not happen) and `unknown` (the answer
was lost: it may have happened). One JSON object a line, in order, the first one tells the seed.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

OUTCOMES = ("ok", "fail", "unknown")


class History:
    """Appends to one file; counts what it has recorded. Times are seconds since the start."""

    def __init__(self, path: Path, **about: Any) -> None:
        self.path = path
        self.began = time.monotonic()
        self.counts: Counter[str] = Counter()
        """By "operation outcome"."""
        self._numbers = 0
        self._file = path.open("wb", buffering=0)
        self._write({"began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **about})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self.began, 3)

    def invoke(self, operation: str, **detail: Any) -> int:
        """An operation begins; its number, by which its end is told."""
        self._numbers += 1
        self._write({"t": self.seconds, "op": self._numbers, "type": "invoke", "f": operation, **detail})
        self.counts[f"{operation} invoke"] += 1
        return self._numbers

    def end(self, number: int, operation: str, outcome: str, **detail: Any) -> None:
        """How an operation ended."""
        assert outcome in OUTCOMES
        self._write({"t": self.seconds, "op": number, "type": outcome, "f": operation, **detail})
        self.counts[f"{operation} {outcome}"] += 1

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(orjson.dumps(record) + b"\n")
