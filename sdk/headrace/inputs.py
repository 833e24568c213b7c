"""Incoming metadata, read on first use where it was too large to come with `start`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Fetch = Callable[[str], Any]
"""href -> JSON."""


def reference(value: Any) -> str | None:
    """The href in {"$href": …}, else None."""
    return value["$href"] if isinstance(value, dict) and "$href" in value else None


class Inputs(Mapping[str, Any]):
    """Metadata by the name of the upstream node; None where that node was skipped or failed."""

    def __init__(self, values: Mapping[str, Any], fetch: Fetch) -> None:
        self._values = dict(values)
        self._fetch = fetch

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]
        href = reference(value)
        if href is not None:
            value = self._values[name] = self._fetch(href)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def items_of(self, name: str) -> Iterator[Any]:
        """The metadata of the items of an upstream map, in order, whether inline or by reference; None is
        left out."""
        metadata: Any = self[name] or {}
        items: Any = metadata.get("items") or []
        href = reference(items)
        if href is None:
            yield from (item for item in items if item is not None)
            return
        while href:
            page = self._fetch(href)
            found = page if isinstance(page, list) else page["items"]
            yield from (item for item in found if item is not None)
            cursor = None if isinstance(page, list) else page.get("next_cursor")
            base = reference(items) or ""
            href = f"{base}{'&' if '?' in base else '?'}cursor={cursor}" if cursor else None
