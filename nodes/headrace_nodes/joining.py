"""Streams of records joined by a key, in flat memory, in an order that the streams alone decide.

Branches of one split carry the same records in the same order, but for those that failed on the way. So the
streams are read side by side; where they differ, one look ahead over the keys tells which records have no
partner, and a small window holds those that wait for theirs. Streams in quite different orders are joined
through an index on disk.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast

import orjson

Record = dict[str, Any]
Joined = list[Record | None]
Source = Callable[[], Iterator[Record]]
"""Opens a stream at its beginning; it is opened again for every look at it."""

WINDOW: Final = 20_000
"""Records that may wait for their partners in memory."""


def join(
    sources: Sequence[Source], on: str, scratch: Callable[[], Path], window: int = WINDOW
) -> Iterator[Joined]:
    """Every record with its partners: one list a record, as long as `sources`, None where a stream has none.

    `scratch` gives a path for the index; it is asked only when one is needed, and the file is gone at the
    end. A key that is in a stream twice is joined in order of appearance. Raises KeyError for a record
    without the key.
    """
    same = 0
    for records in _lockstep([source() for source in sources], on):
        if records is None:
            break
        same += 1
        yield cast("Joined", records)
    else:
        return
    lonely = _look_ahead(_reopened(sources, same), on, window)
    if lonely is not None:
        yield from _windowed(_reopened(sources, same), on, lonely)
    else:
        yield from _indexed(_reopened(sources, same), on, scratch())


def _reopened(sources: Sequence[Source], skipped: int) -> list[Iterator[Record]]:
    return [islice(source(), skipped, None) for source in sources]


def _lockstep(streams: list[Iterator[Record]], on: str) -> Iterator[list[Record] | None]:
    """The heads of all streams while their keys agree; then None. Ends without None when all end together."""
    while True:
        heads = [next(stream, None) for stream in streams]
        present = [head for head in heads if head is not None]
        if not present:
            return
        if len(present) < len(heads) or len({head[on] for head in present}) > 1:
            yield None
            return
        yield present


def _look_ahead(streams: list[Iterator[Record]], on: str, window: int) -> dict[Any, list[int]] | None:
    """How many records of each key and stream find no partner; None when more than `window` keys wait at
    once.
    """
    waiting: dict[Any, list[int]] = {}
    live = list(enumerate(streams))
    while live:
        for index, stream in list(live):
            record = next(stream, None)
            if record is None:
                live.remove((index, stream))
                continue
            counts = waiting.setdefault(record[on], [0] * len(streams))
            counts[index] += 1
            if all(counts):
                counts[:] = [count - 1 for count in counts]
                if not any(counts):
                    del waiting[record[on]]
        if len(waiting) > window:
            return None
    return waiting


def _windowed(streams: list[Iterator[Record]], on: str, lonely: dict[Any, list[int]]) -> Iterator[Joined]:
    """Records joined as soon as the last of their partners is read; those known to have none at once."""
    waiting: dict[Any, list[deque[Record]]] = {}
    live = list(enumerate(streams))
    while live:
        for index, stream in list(live):
            while (record := next(stream, None)) is not None:
                key = record[on]
                known = key in lonely
                queues = waiting.setdefault(key, [deque() for _ in streams])
                queues[index].append(record)
                yield from _complete(queues, lonely, key)
                if not any(queues):
                    del waiting[key]
                if not known:
                    break
            if record is None:
                live.remove((index, stream))


def _complete(queues: list[deque[Record]], lonely: dict[Any, list[int]], key: Any) -> Iterator[Joined]:
    """All rows that the waiting records of one key make: with the partners there will be, and no others."""
    while any(queues):
        counts = lonely.get(key) or [1] * len(queues)
        if not all(queue for queue, count in zip(queues, counts, strict=True) if count):
            return
        yield [queue.popleft() if count else None for queue, count in zip(queues, counts, strict=True)]
        left = [max(count - 1, 0) for count in counts]
        if any(left):
            lonely[key] = left
        else:
            lonely.pop(key, None)


def _indexed(streams: list[Iterator[Record]], on: str, path: Path) -> Iterator[Joined]:
    """The first stream's records in their order, each with its partners; then what is left of the others."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        _fill(database, streams, on, path)
        width = len(streams)
        for record in streams[0]:
            yield [record, *_partners(database, record[on], range(1, width))]
        for index in range(1, width):
            for key, record in _left(database, index):
                others = _partners(database, key, range(index + 1, width))
                yield [*([None] * index), record, *others]


def _fill(database: sqlite3.Connection, streams: list[Iterator[Record]], on: str, path: Path) -> None:
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    database.execute("PRAGMA cache_size = -32768")
    database.execute(
        "CREATE TABLE records (id INTEGER PRIMARY KEY, stream INTEGER, key TEXT, used INTEGER, body BLOB)"
    )
    path.unlink()
    database.execute("BEGIN")
    for index, stream in enumerate(streams):
        if index:
            rows = ((index, _text(record[on]), orjson.dumps(record)) for record in stream)
            database.executemany("INSERT INTO records (stream, key, used, body) VALUES (?, ?, 0, ?)", rows)
    database.execute("CREATE INDEX by_key ON records (key, stream, used)")
    database.execute("COMMIT")
    database.execute("BEGIN")


def _text(key: Any) -> str:
    """A key as text that tells 1 from "1"."""
    return orjson.dumps(key).decode()


def _partners(database: sqlite3.Connection, key: Any, streams: range) -> Joined:
    return [_take(database, _text(key), stream) for stream in streams]


def _take(database: sqlite3.Connection, key: str, stream: int) -> Record | None:
    found = database.execute(
        "SELECT id, body FROM records WHERE key = ? AND stream = ? AND used = 0 ORDER BY id LIMIT 1",
        (key, stream),
    ).fetchone()
    if found is None:
        return None
    database.execute("UPDATE records SET used = 1 WHERE id = ?", (found[0],))
    return orjson.loads(found[1])


def _left(database: sqlite3.Connection, stream: int) -> Iterator[tuple[Any, Record]]:
    last = 0
    while True:
        row = database.execute(
            "SELECT id, key, body FROM records WHERE stream = ? AND used = 0 AND id > ? ORDER BY id LIMIT 1",
            (stream, last),
        ).fetchone()
        if row is None:
            return
        last = row[0]
        database.execute("UPDATE records SET used = 1 WHERE id = ?", (last,))
        yield orjson.loads(row[1]), orjson.loads(row[2])
