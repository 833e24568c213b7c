"""Durations and instants as documents write them: `200ms`, `90s`, `10m`, `6h`, `30d`; RFC 3339 instants."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
PATTERN = r"^[0-9]{1,12}(ms|s|m|h|d)$"
MAX_MS = 3_650 * UNITS_MS["d"]
"""Ten years: nothing in a workflow waits longer, and every due time stays far below 2**53 milliseconds."""

_DURATION = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")


def parse_duration(value: object) -> int:
    """Milliseconds of `10m`, or of the number 0. Raises ValueError with a message fit for the user."""
    if value == 0 and not isinstance(value, bool):
        return 0
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration is a whole number and a unit: 200ms, 90s, 10m, 6h, 30d")
    milliseconds = int(match[1]) * UNITS_MS[match[2]]
    if milliseconds > MAX_MS:
        raise ValueError("a duration is at most 3650d")
    return milliseconds


def format_duration(milliseconds: int) -> str:
    """The shortest text that `parse_duration` reads back: 90000 -> `90s`, 0 -> `0s`."""
    for unit in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % UNITS_MS[unit] == 0:
            return f"{milliseconds // UNITS_MS[unit]}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def parse_instant(value: object) -> int:
    """Unix milliseconds of an RFC 3339 instant with its zone. Raises ValueError with a message fit for the user."""
    complaint = "an instant is RFC 3339 with a time zone: 2030-01-31T08:00:00Z"
    if not isinstance(value, str) or len(value) > 64:
        raise ValueError(complaint)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(complaint) from None
    if moment.tzinfo is None:
        raise ValueError(complaint)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
