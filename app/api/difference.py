"""What differs between two documents, place by place."""

from __future__ import annotations

from typing import Any, cast

Change = dict[str, Any]


def difference(old: Any, new: Any) -> list[Change]:
    """Changes [{op: add | remove | replace, pointer, old?, new?}] that lead from `old` to `new`; lists are
    compared whole."""
    found: list[Change] = []
    _compare(old, new, "", found)
    return found


def _compare(old: Any, new: Any, place: str, found: list[Change]) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        before, after = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
        for name in sorted(before.keys() | after.keys()):
            below = f"{place}/{name.replace('~', '~0').replace('/', '~1')}"
            if name not in after:
                found.append({"op": "remove", "pointer": below, "old": before[name]})
            elif name not in before:
                found.append({"op": "add", "pointer": below, "new": after[name]})
            else:
                _compare(before[name], after[name], below, found)
    elif old != new or type(old) is not type(new):
        found.append({"op": "replace", "pointer": place, "old": old, "new": new})
