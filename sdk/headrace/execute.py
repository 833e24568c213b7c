"""The step execute: records through the node, results into parts, positions behind them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import suppress
from inspect import iscoroutinefunction
from itertools import islice
from typing import Any

import orjson

from headrace.context import Context
from headrace.control import Control
from headrace.encode import line_of, lines_of
from headrace.errors import (
    Cancelled,
    Fatal,
    HeadraceError,
    ProtocolError,
    Retry,
    TooManyFailedRecords,
)
from headrace.formats import Bad
from headrace.node import Node
from headrace.parts import PartWriter
from headrace.position import MAX_BYTES, Position, Segment
from headrace.redact import Redactor
from headrace.reporter import LEDGER_CALL, Reporter
from headrace.streams import Stream

MAX_STATE = 16 * 1024
EXACT = 1 + 1e-12
"""0.29 of 100 is 28.999999999999996 as a float, and 29 records are no more than that."""
WHOLE_NODE = (Fatal, Retry, Cancelled, ProtocolError)
"""Errors that a record does not survive alone: they end the step."""
_WATCH = 0.25
"""Seconds between two looks at the flags while an async node waits."""


def total_of(stream: Iterable[Any]) -> int | None:
    """How many records a stream will give, where that is known beforehand."""
    if isinstance(stream, Stream):
        return stream.total
    return len(stream) if isinstance(stream, list | tuple | dict | set | range) else None


def records_of(stream: Iterable[Any], skip: int) -> Iterator[Any]:
    """The records of what `configure` returned, after the first `skip`. Raises Fatal where it is no
    stream."""
    if isinstance(stream, Stream):
        return stream.read(skip)
    if isinstance(stream, str | bytes | dict) or not hasattr(stream, "__iter__"):
        raise Fatal(
            f"configure must return a stream, a list or another iterable, not {type(stream).__name__}"
        )
    return islice(iter(stream), skip, None)


class Execution:
    """One run through the stream, from a position to the end."""

    def __init__(
        self,
        node: Node,
        ctx: Context,
        *,
        start: Position,
        seq: int,
        total: int | None,
        writer: PartWriter,
        reporter: Reporter,
        control: Control,
        redact: Redactor,
        ledger: bool = False,
    ) -> None:
        """`ledger`: the engine keeps a ledger from which a later run can redo the failed records."""
        self._node = node
        self._ctx = ctx
        self._total = total
        self._writer = writer
        self._reporter = reporter
        self._control = control
        self._redact = redact
        self._keeps = ledger
        self._seq = seq
        self._consumed = start.consumed
        self._failed = start.failed
        self._ledger: list[dict[str, Any]] = []
        self._committed = start
        ctx.state = orjson.loads(orjson.dumps(start.state)) if start.state else {}
        self._schedule()

    def run(self, records: Iterator[Any]) -> Position:
        """Execute every record. Returns the last position, which is durable and queued; raises what ends the
        step."""
        if self._keeps and self._ctx.epoch > 1:
            self._reporter.since(self._since())
        try:
            if type(self._node).execute_batch is not Node.execute_batch:
                self._each_batch(records)
            elif iscoroutinefunction(self._node.execute):
                self._each_async(records)
            else:
                self._each(records)
        except (Exception, KeyboardInterrupt) as error:
            if not isinstance(error, ProtocolError | TooManyFailedRecords):
                with suppress(OSError):
                    self.commit()
            raise
        self.commit()
        if self._too_many(self._consumed):
            self._give_up()
        return self._committed

    def _since(self) -> int:
        """The index of the stream from which on the ledger is this process's: what is there, an earlier one
        left."""
        return self._consumed

    def _place(self) -> int:
        """The index in the stream of the record that is worked on."""
        return self._consumed

    def _too_many(self, of: int | None) -> bool:
        """Whether more have failed than is tolerated of that many."""
        return of is not None and self._failed > self._ctx.tolerate * of * EXACT

    def commit(self) -> None:
        """Make everything done so far durable, and queue its position after the failed records that it
        covers."""
        segments = self._writer.commit()
        self._committed = self._position(segments)
        self._report(self._committed)
        self._schedule()

    def _position(self, segments: tuple[Segment, ...]) -> Position:
        return Position(
            consumed=self._consumed,
            emitted=self._writer.emitted,
            failed=self._failed,
            bytes=self._writer.bytes,
            segments=segments,
            state=self._state(),
            clean=self._clean(),
        )

    def _clean(self) -> Position | None:
        """The position to begin again at after too many failures; None while nothing has failed."""
        if not self._failed:
            return None
        return self._committed.clean if self._committed.failed else self._committed

    def _report(self, position: Position) -> None:
        data = position.dump()
        if len(orjson.dumps(data)) > MAX_BYTES:
            raise Fatal(
                "the position has become larger than 64 KiB: too many restarts, or ctx.state too large"
            )
        self._seq += 1
        entry: dict[str, Any] = {"step": "execute", "seq": self._seq, "data": data}
        progress: dict[str, int] = {"done": position.redo.done if position.redo else position.consumed}
        if self._total is not None:
            progress["total"] = self._total
        entry["progress"] = self._ctx.shown or progress
        self._reporter.position(entry, self._ledger)
        self._ledger = []

    def _state(self) -> Any:
        """A copy of ctx.state; raises Fatal where it is too large or not JSON."""
        if not self._ctx.state:
            return None
        try:
            text = orjson.dumps(self._ctx.state)
        except TypeError as error:
            raise Fatal(f"ctx.state is not JSON: {error}") from None
        if len(text) > MAX_STATE:
            raise Fatal(f"ctx.state is larger than {MAX_STATE} bytes")
        return orjson.loads(text)

    def _schedule(self) -> None:
        self._due = time.monotonic() + self._node.checkpoint_seconds
        self._due_records = self._consumed + self._node.checkpoint_records

    def _pause(self) -> None:
        """Between two records: commit if it is time, and stop if that was asked for."""
        self._control.check()
        self.commit()

    def _reject(self, error: Exception, record: Any = None) -> None:
        """Enter a failed record into the ledger. Raises TooManyFailedRecords once that is certain."""
        kind = error.code if isinstance(error, HeadraceError) and error.code else type(error).__name__
        entry: dict[str, Any] = {
            "index": self._place(),
            "type": kind,
            "message": self._redact(str(error) or kind),
        }
        key = self._key(record)
        if key is not None:
            entry["key"] = key
        if self._keeps:
            entry["at"] = self._writer.appended
        self._ledger.append(entry)
        self._failed += 1
        known = None if self._total is None else max(self._total, 1)
        if self._ctx.tolerate == 0 or self._too_many(known):
            self._give_up()
        if len(self._ledger) >= LEDGER_CALL:
            self._due_records = 0

    def _key(self, record: Any) -> str | None:
        """A record's name in the ledger."""
        key = self._node.key(record)
        return None if key is None else self._redact(key)[:200]

    def _give_up(self) -> None:
        """Queue the ledger and, as the position, the one before the first failure: another attempt begins
        there."""
        clean = self._clean() or Position()
        self._report(clean)
        share = f"{self._ctx.tolerate:.2%} tolerated"
        of = f" of {self._consumed}" if self._total is None else f" of {self._total}"
        raise TooManyFailedRecords(f"{self._failed}{of} records failed ({share})")

    def _each(self, records: Iterator[Any]) -> None:
        """One record at a time: the hot loop."""
        execute, ctx, control = self._node.execute, self._ctx, self._control
        append, dumps, clock = self._writer.append, line_of, time.monotonic
        control.check()
        for record in records:
            if type(record) is Bad:
                self._reject(record.error)
            else:
                try:
                    result = execute(ctx, record)
                    lines = (dumps(result),) if type(result) is dict else lines_of(result)
                except WHOLE_NODE:
                    raise
                except Exception as error:
                    self._reject(error, record)
                else:
                    for line in lines:
                        append(line)
            self._consumed += 1
            if control.attention or self._consumed >= self._due_records or clock() >= self._due:
                self._pause()

    def _each_batch(self, records: Iterator[Any]) -> None:
        """A batch at a time; positions lie between batches, so a resumed node sees the same batches."""
        self._control.check()
        while batch := list(islice(records, self._node.batch_size)):
            good = [record for record in batch if type(record) is not Bad]
            try:
                lines = lines_of(self._node.execute_batch(self._ctx, good)) if good else []
                whole = len(good) == len(batch)
            except WHOLE_NODE:
                raise
            except Exception:
                lines, whole = [], False
            if whole:
                for line in lines:
                    self._writer.append(line)
                self._consumed += len(batch)
            else:
                self._one_by_one(batch)
            self._pause_when_due()

    def _pause_when_due(self) -> None:
        """After a batch or a task; the loop over single records asks the same inline, for speed."""
        if self._control.attention or self._consumed >= self._due_records or time.monotonic() >= self._due:
            self._pause()

    def _one_by_one(self, batch: list[Any]) -> None:
        """A batch that failed, in batches of one: only the records at fault fail."""
        for record in batch:
            if type(record) is Bad:
                self._reject(record.error)
            else:
                try:
                    lines = lines_of(self._node.execute_batch(self._ctx, [record]))
                except WHOLE_NODE:
                    raise
                except Exception as error:
                    self._reject(error, record)
                else:
                    for line in lines:
                        self._writer.append(line)
            self._consumed += 1

    def _each_async(self, records: Iterator[Any]) -> None:
        import asyncio

        self._control.check()
        asyncio.run(self._overlapping(records))

    async def _overlapping(self, records: Iterator[Any]) -> None:
        """Several records in flight, results in the order of the stream."""
        import asyncio

        gate = asyncio.Semaphore(self._node.concurrency)
        execute: Any = self._node.execute

        async def one(record: Any) -> list[bytes]:
            async with gate:
                return lines_of(await execute(self._ctx, record))

        window: deque[tuple[Any, asyncio.Task[list[bytes]] | None]] = deque()
        ahead = 4 * self._node.concurrency
        try:
            while True:
                for record in islice(records, ahead - len(window)):
                    window.append((record, None if type(record) is Bad else _task(one(record))))
                if not window:
                    return
                record, task = window[0]
                while task is not None and not task.done():
                    await asyncio.wait((task,), timeout=_WATCH)
                    if self._control.attention:
                        self._pause()
                window.popleft()
                self._settle(record, task)
                self._pause_when_due()
        finally:
            left = [task for _, task in window if task is not None]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def _settle(self, record: Any, task: Any) -> None:
        if task is None:
            self._reject(record.error)
        else:
            try:
                lines = task.result()
            except WHOLE_NODE:
                raise
            except Exception as error:
                self._reject(error, record)
            else:
                for line in lines:
                    self._writer.append(line)
        self._consumed += 1


def _task(coroutine: Coroutine[Any, Any, list[bytes]]) -> Any:
    import asyncio

    return asyncio.ensure_future(coroutine)
