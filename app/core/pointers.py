"""JSON pointers (RFC 6901), and the collector of everything that is wrong with a document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from app.errors import InvalidInput, Place

MAX_PLACES = 50
"""How many problems of one document are reported together."""


def escape(part: str | int) -> str:
    """One reference token: `a/b` -> `a~1b`."""
    return str(part).replace("~", "~0").replace("/", "~1")


def pointer(*parts: str | int) -> str:
    """`pointer("nodes", "a", 0)` -> `/nodes/a/0`; no parts: the whole document, an empty text."""
    return "".join(f"/{escape(part)}" for part in parts)


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `known`, or nothing."""
    near = get_close_matches(word[:100], known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


class Problems:
    """Collects places up to MAX_PLACES; `full` lets long loops stop early."""

    def __init__(self) -> None:
        self.places: list[Place] = []

    def __bool__(self) -> bool:
        return bool(self.places)

    @property
    def full(self) -> bool:
        return len(self.places) >= MAX_PLACES

    def add(self, at: str, detail: str) -> None:
        """Record one problem at the JSON pointer `at`, unless enough are known already."""
        if not self.full:
            self.places.append(Place(at, detail))

    def extend(self, places: Sequence[Place]) -> None:
        for place in places:
            self.add(*place)

    def raise_if_any(self, message: str, error: type[InvalidInput] = InvalidInput) -> None:
        """Raises `error` with every place collected, or returns when there is none."""
        if self.places:
            raise error(message, self.places)
