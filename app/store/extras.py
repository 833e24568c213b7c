"""What a few commits write beside the run itself: the last part of the commit script's arguments."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.view import Changes
from app.store.keys import Keys
from app.store.wire import Arg


class _Names:
    """Keys in the order in which they are first named; a section names each by its number, from 1."""

    def __init__(self) -> None:
        self.order: dict[str, int] = {}

    def number(self, key: str) -> int:
        return self.order.setdefault(key, len(self.order) + 1)


def extras(keys: Keys, run: str, changes: Changes) -> tuple[Sequence[str], list[Arg]]:
    """Further keys and arguments of a commit; both empty for nearly all."""
    if not changes.chunks and not changes.failed_items:
        return (), []
    names, args = _Names(), list[Arg]()
    args.append(sum(len(chunks) for chunks in changes.chunks.values()))
    for node, chunks in changes.chunks.items():
        for number, chunk in enumerate(chunks):
            args += (names.number(keys.map_items(run, node)), number, chunk)
    args.append(len(changes.failed_items))
    for node, item in changes.failed_items:
        args += (names.number(keys.failed_items(run, node)), item)
    return list(names.order), args
