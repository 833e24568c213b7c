"""How many runs of a workflow with the same key go on at a time, and which are in the way of a newer one.

    trigger -> place free: the run begins
            -> none: queue (in the order of priority, then time), reject, or cancel the oldest and wait for their places

A run takes its place in the script that makes or promotes it, and gives it back in the one that ends it: places are facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any

import orjson

from app.core.expressions import Template

NO_LIMIT = "-"
"""The key under which runs wait that only their paused workflow holds back."""
RANK = 10**13
"""More than any ms since the epoch of the next two centuries, and 5 times it is an exact double."""
ASKED = 10**12
"""What is taken off the ms of a place whose run was asked to end for a newer one: only such a place lies before 2001."""
PRIORITIES = 5


class OnLimit(StrEnum):
    """What happens to a run when as many as may go on do."""

    QUEUE = "queue"
    REJECT = "reject"
    CANCEL_RUNNING = "cancel_running"


@dataclass(slots=True, frozen=True)
class Limit:
    """The limit that one run comes under."""

    key: str
    """As text; "" where the document has none."""
    max: int
    on_limit: OnLimit = OnLimit.QUEUE
    max_queued: int | None = None

    @property
    def digest(self) -> str:
        """The key as it stands in names of the store."""
        return blake2b(self.key.encode(), digest_size=12).hexdigest()

    @property
    def most(self) -> int:
        """Runs of the key that may go on and wait together; -1: any number."""
        if self.on_limit is OnLimit.REJECT:
            return self.max
        if self.on_limit is OnLimit.CANCEL_RUNNING or self.max_queued is None:
            return -1
        return self.max + self.max_queued

    @property
    def refusal(self) -> str:
        """Why a run past `most` is rejected."""
        key = f" with the key '{self.key[:200]}'" if self.key else ""
        if self.on_limit is OnLimit.REJECT:
            return f"{self.max} runs{key} go on already, and on_limit is reject"
        return f"{self.max} runs{key} go on and {self.max_queued} wait already (max_queued)"

    def refusal_below(self, run: str) -> str:
        """Why a child run of a run that has a place is rejected where it would wait for one."""
        key = f" with the key '{self.key[:200]}'" if self.key else ""
        return (f"no place is free for it (max: {self.max}{key}), and the run {run} above it keeps its own until this one "
                "has ended: they would wait for each other")  # fmt: skip

    def encode(self) -> bytes:
        """As a run keeps it."""
        return orjson.dumps(
            {"key": self.key, "max": self.max, "on_limit": self.on_limit, "max_queued": self.max_queued}
        )

    @classmethod
    def decode(cls, raw: bytes) -> Limit:
        record = orjson.loads(raw)
        return cls(record["key"], record["max"], OnLimit(record["on_limit"]), record["max_queued"])


@dataclass(slots=True, frozen=True, eq=False)
class Concurrency:
    """The field `concurrency` of a version."""

    key: Template | None
    max: int
    on_limit: OnLimit
    max_queued: int | None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Concurrency | None:
        """That of a checked document."""
        field = document.get("concurrency")
        if field is None:
            return None
        key = Template(field["key"]) if field.get("key") is not None else None
        return cls(key, field["max"], OnLimit(field.get("on_limit", OnLimit.QUEUE)), field.get("max_queued"))

    def limit(self, params: Any, event: Any) -> Limit:
        """That of a run with these params. Raises ExpressionError where its key cannot be evaluated."""
        value = (
            ""
            if self.key is None
            else self.key.render({"params": params, "event": event}, "/concurrency/key")
        )
        text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
        return Limit(text, self.max, self.on_limit, self.max_queued)


def rank(priority: int, ms: int) -> int:
    """Where a run waits among those of its key: the lowest goes first."""
    return priority * RANK + ms


def arrival(score: float) -> int:
    """The ms of a rank, or of a place."""
    ms = int(score) % RANK
    return ms if ms >= ASKED else ms + ASKED
