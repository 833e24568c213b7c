"""What a few commits write beside the run itself: the last part of the commit script's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from app.core.signals import encode
from app.core.view import Changes, ChildStart, View
from app.store.control import CANCEL_SIGNAL, TERMINAL, control_event
from app.store.ids import receipt_of
from app.store.keys import Keys
from app.store.triggers import RECEIPT_MS
from app.store.wire import Arg


class _Extras:
    """Arguments that name keys by number, in the order in which the keys are first named, from 1."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.args: list[Arg] = []

    def key(self, name: str) -> int:
        return self.names.setdefault(name, len(self.names) + 1)

    def section(self, rows: Sequence[Sequence[Arg]]) -> None:
        self.args.append(len(rows))
        for row in rows:
            self.args += row


def extras(keys: Keys, view: View, changes: Changes, now: int) -> tuple[Sequence[str], list[Arg]]:
    """Further keys and arguments of a commit; both empty for nearly all."""
    if not (changes.chunks or changes.failed_items or changes.cached or changes.children or changes.cancel
            or changes.tell or changes.ended):  # fmt: skip
        return (), []
    run, made = view.run.id, _Extras()
    key = made.key
    made.section(
        [
            (key(keys.map_items(run, node)), number, chunk)
            for node, chunks in changes.chunks.items()
            for number, chunk in enumerate(chunks)
        ]
    )
    made.section([(key(keys.failed_items(run, node)), item) for node, item in changes.failed_items])
    made.section([(key(keys.cached(name)), value, ms) for name, value, ms in changes.cached])
    made.section([_trigger(made, keys, view, child, now) for child in changes.children])
    made.section(
        [
            (key(keys.run(to)), key(keys.inbox(to)), key(keys.pins(run)), to, encode(signal))
            for to, signal in changes.tell
        ]
    )
    made.args += TERMINAL
    made.section([_cancel(made, keys, child, now) for child in changes.cancel])
    after = [] if changes.ended is None else [changes.ended]
    made.section([(key(keys.after(view.run.workflow)), key(keys.triggers), ended) for ended in after])
    return list(made.names), made.args


def _trigger(made: _Extras, keys: Keys, view: View, child: ChildStart, now: int) -> Sequence[Arg]:
    """The trigger of a child run. Its params are in the node run that waits for it."""
    receipt, run = receipt_of(child.run), view.run
    priority = view.graph.node_of(child.ref).priority or run.priority
    source, version = f"run:{run.id}", child.version or 0
    origin = {"r": run.id, "n": child.ref, "a": child.attempt, "d": run.depth + 1,
              "via": [*run.origin.get("via", ()), run.workflow], "w": run.workflow, "v": run.version}  # fmt: skip
    payload: dict[str, Any] = {"w": child.workflow, "v": version, "r": child.run, "p": None, "l": {}, "y": priority,
                               "src": source, "ev": None, "up": origin}  # fmt: skip
    fields: list[Arg] = [
        "s",
        "queued",
        "w",
        child.workflow,
        "v",
        version,
        "src",
        source,
        "r",
        child.run,
        "c",
        now,
    ]
    return (made.key(keys.triggers), made.key(keys.receipt(receipt)), receipt, orjson.dumps(payload), RECEIPT_MS,
            len(fields) // 2, *fields)  # fmt: skip


def _cancel(made: _Extras, keys: Keys, run: str, now: int) -> Sequence[Arg]:
    names = (keys.run(run), keys.inbox(run), keys.events(run), keys.receipt(receipt_of(run)))
    return (*(made.key(name) for name in names), run, CANCEL_SIGNAL, control_event("cancel", now))
