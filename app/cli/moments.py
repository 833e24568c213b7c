"""Times and durations as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(value: object) -> float | None:
    """Seconds since the epoch of an RFC 3339 text or of milliseconds; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value / 1000
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            return None
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    return None


def duration(seconds: float | None) -> str:
    """`0.84 s`, `12.3 s`, `3m 04s`, `2h 03m`, `4d 01h`; empty for None."""
    if seconds is None:
        return ""
    seconds = max(seconds, 0.0)
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def elapsed(started: object, ended: object, now: float) -> float | None:
    """Seconds from start to end, or to now while it goes on; None before the start."""
    first, last = moment(started), moment(ended)
    if first is None:
        return None
    return (now if last is None else last) - first


def clock(value: object) -> str:
    """A moment in local time: the time of a moment today, else the date; empty for None."""
    seconds = moment(value)
    if seconds is None:
        return ""
    local = datetime.fromtimestamp(seconds, tz=UTC).astimezone()
    today = local.date() == datetime.now(tz=UTC).astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d")
