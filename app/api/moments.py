"""Times that callers give."""

from __future__ import annotations

from datetime import UTC, datetime

from app.errors import InvalidInput, Place


def parse_since(text: str | None) -> int | None:
    """An ISO 8601 time or Unix milliseconds, as Unix milliseconds; None for None. Raises InvalidInput."""
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) < 16:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            places=[Place("/since", "an ISO 8601 time or Unix milliseconds are expected")]
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, int(moment.timestamp() * 1000))
