"""Incoming metadata, read on first use where it was too large to come with `start`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Fetch = Callable[[str], Any]
"""href -> JSON."""


def reference(value: Any) -> str | None:
    """The href in {"$href": …}, else None."""
    return value["$href"] if isinstance(value, dict) and "$href" in value else None


class ItemPages(Iterable[Any]):
    """The metadata of a map's items by reference: read page by page, each time it is iterated, never kept."""

    def __init__(self, href: str, count: int, fetch: Fetch) -> None:
        self._href = href
        self._count = count
        self._fetch = fetch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        cursor: str | None = ""
        while cursor is not None:
            mark = "&" if "?" in self._href else "?"
            page = self._fetch(f"{self._href}{mark}cursor={cursor}" if cursor else self._href)
            yield from page["items"]
            cursor = page.get("next_cursor")


class Inputs(Mapping[str, Any]):
    """Metadata by the name of the upstream node; None where that node was skipped or failed."""

    def __init__(self, values: Mapping[str, Any], fetch: Fetch) -> None:
        self._values = dict(values)
        self._fetch = fetch

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]
        href = reference(value)
        if href is not None:
            value = self._fetch(href)
        pages = reference(value.get("items")) if isinstance(value, dict) else None
        if pages is not None:
            value = {**value, "items": ItemPages(pages, value.get("count", 0), self._fetch)}
        self._values[name] = value
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def items_of(self, name: str) -> Iterator[Any]:
        """The metadata of the items of an upstream map, in order, whether inline or by reference; None for an
        item that failed."""
        metadata: Any = self[name] or {}
        return iter(metadata.get("items") or ())
