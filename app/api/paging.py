"""Pages of lists: {items, next_cursor}, by `limit` and `cursor` of the query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp

from app.api.http import Call, json_reply
from app.errors import InvalidInput, Place

_POSITION = re.compile(r"[0-9]{1,20}")


def page(call: Call, default: int = 100, cursors: re.Pattern[str] = _POSITION) -> tuple[int, str | None]:
    """Limit and cursor of a page. Raises InvalidInput for what cannot be a cursor of this list."""
    cursor = call.query.get("cursor") or None
    if cursor is not None and not cursors.fullmatch(cursor):
        raise InvalidInput(places=[Place("/cursor", "this is not a cursor of this list")])
    return call.number("limit", default, 1, 1000), cursor


def listed(items: Any, cursor: str | None) -> ASGIApp:
    return json_reply({"items": items, "next_cursor": cursor})


def sliced(call: Call, items: Sequence[Any], default: int = 1000) -> ASGIApp:
    """A page of a list that was read as a whole; its cursor is how many were told. Raises InvalidInput."""
    limit, cursor = page(call, default)
    first = int(cursor or 0)
    after = first + limit
    return listed(items[first:after], str(after) if after < len(items) else None)
