"""A redo: an earlier run's failed records once more, and what else it wrote as it is.

Results are written anew, in the order of the stream: what the earlier node run wrote before a failed record, then what that
record gives now, and so on to the end. So the outcome is what it would have been had the record not failed, byte for byte,
and no reader has to know that there was a redo.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from headrace.errors import Fatal, SourceError
from headrace.execute import Execution, records_of
from headrace.formats import Bad
from headrace.parts import PartStore
from headrace.position import Position, Redone
from headrace.streams import Stream

JUMP = 10_000
"""Records of a stream past which the next failed one is looked for by its place instead of by reading on."""
_END = object()
Ledger = Callable[[int], Iterator[dict[str, Any]]]
"""Entries of the earlier ledger from an index of the stream on, in order."""


class Base(NamedTuple):
    """The node run whose failed records are redone."""

    position: Position
    """Where its execute ended."""
    store: PartStore
    ledger: Ledger


def from_ledger(fetch: Callable[[str], Any], href: str) -> Ledger:
    """The entries behind `href`, a page at a time."""

    def entries(first: int) -> Iterator[dict[str, Any]]:
        place: str | None = str(first)
        while place is not None:
            page = fetch(f"{href}?limit=1000&cursor={place}")
            yield from page["items"]
            place = page["next_cursor"]

    return entries


def beginning(base: Base) -> Position:
    """The position of a redo that has done nothing yet."""
    return Position(consumed=base.position.consumed, state=base.position.state, redo=Redone())


class Redo(Execution):
    """Goes through the failed records only; `self._consumed` counts those, in the order of the ledger."""

    def __init__(self, base: Base, *args: Any, start: Position, **more: Any) -> None:
        """`start` is one whose `redo` says how far an earlier process came."""
        self._base = base
        self._done = start.redo or Redone()
        self._copied = self._done.records
        self._copied_bytes = self._done.bytes
        self._ahead: deque[dict[str, Any]] = deque()
        """Entries from the one that is worked on; the async form reads some ahead."""
        self._first = self._done.done
        """The number of the first of them."""
        super().__init__(*args, start=start._replace(consumed=self._done.done), **more)
        self._committed = start
        self._old = self._lines(self._copied_bytes)

    def failed_ones(self, stream: Iterable[Any]) -> Iterator[Any]:
        """The records of the stream that failed. Raises Fatal where it is not the stream that it was."""
        reader: Iterator[Any] | None = None
        at = 0
        for entry in self._base.ledger(self._done.next):
            index = entry["index"]
            if reader is None or (isinstance(stream, Stream) and index - at > JUMP):
                reader, at = records_of(stream, index), index
            record = next(islice(reader, index - at, None), _END)
            at = index + 1
            if record is _END or not self._is_it(record, entry):
                raise Fatal(
                    f"record {index} of the stream is not the one that failed: the stream is another than it"
                    " was. Retry from this node to do all of it again"
                )
            self._ahead.append(entry)
            yield record

    def _is_it(self, record: Any, entry: dict[str, Any]) -> bool:
        key = None if type(record) is Bad or "key" not in entry else self._key(record)
        return key is None or key == entry["key"]

    def _entry(self) -> dict[str, Any]:
        """What the ledger says of the record that is worked on."""
        self._forget()
        return self._ahead[0]

    def _forget(self) -> None:
        while self._first < self._consumed:
            self._done = self._done._replace(next=self._ahead.popleft()["index"] + 1)
            self._first += 1

    def _place(self) -> int:
        return self._entry()["index"]

    def _since(self) -> int:
        return self._done.next

    def _too_many(self, of: int | None) -> bool:
        """It was tolerated that all of them had failed."""
        return False

    def _position(self, segments: Any) -> Position:
        self._forget()
        self._done = self._done._replace(done=self._consumed, records=self._copied, bytes=self._copied_bytes)
        found = super()._position(segments)
        return found._replace(consumed=self._base.position.consumed, clean=None, redo=self._done)

    def _schedule(self) -> None:
        super()._schedule()
        self._due_copied = self._copied + self._node.checkpoint_records

    def _each(self, records: Iterator[Any]) -> None:
        super()._each(self._following(records))
        self._copy()

    def _each_batch(self, records: Iterator[Any]) -> None:
        """Batches of one: what a larger one gives could not be put to the places of its records."""
        self._control.check()
        for record in self._following(records):
            self._one_by_one([record])
            self._pause_when_due()
        self._copy()

    def _each_async(self, records: Iterator[Any]) -> None:
        super()._each_async(records)
        self._copy()

    def _settle(self, record: Any, task: Any) -> None:
        self._copy(self._entry().get("at"))
        super()._settle(record, task)

    def _following(self, records: Iterator[Any]) -> Iterator[Any]:
        """Each record once what was written before it is copied."""
        for record in records:
            self._copy(self._entry().get("at"))
            yield record

    def _copy(self, until: int | None = None) -> None:
        """Copy what was written up to that many records; None: to the end."""
        append = self._writer.append
        while until is None or self._copied < until:
            line = next(self._old, None)
            if line is None:
                return
            append(line)
            self._copied += 1
            self._copied_bytes += len(line)
            if self._control.attention or self._copied >= self._due_copied or time.monotonic() >= self._due:
                self._pause()

    def _lines(self, skip: int) -> Iterator[bytes]:
        """What the earlier node run wrote, after its first `skip` bytes."""
        store = self._base.store
        for part in store.parts(self._base.position.segments):
            size = part.bytes or 0
            if skip >= size:
                skip -= size
                continue
            yield from _committed(store.prefix / str(part.path), skip, size)
            skip = 0


def _committed(path: Path, skip: int, size: int) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            file.seek(skip)
            left = size - skip
            for line in file:
                yield line
                left -= len(line)
                if left <= 0:
                    return
    except OSError as error:
        raise SourceError(f"what the earlier run wrote cannot be read: {path.name}") from error
    raise SourceError(f"what the earlier run wrote is shorter than its position says: {path.name}")
