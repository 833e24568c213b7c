"""Reads the log of one pod into parts, once and whole: resumed by time, duplicates cut, in bounded memory."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from time import monotonic, time
from typing import Any

import aiohttp
import structlog

from app.joblogs import HEAD, PART, TAIL, JobLog, Part, moment
from workers.executors.kubernetes.client import MISSING, PODS, Cluster, ClusterError
from workers.executors.kubernetes.manifest import CONTAINER
from workers.executors.kubernetes.pace import Pace
from workers.executors.rate import Backoff

log = structlog.get_logger("headrace.logs")

FLUSH = 1.0
"""Seconds after which what was received is written: how far a reader is behind."""
SILENCE = 300.0
"""Seconds without a byte after which a stream is opened anew."""
STUCK = 5.0
"""Seconds without a byte after which the stream of a pod that has ended is left, and the log read without waiting for more:
some machines do not end it themselves."""
AGAIN = 0.3
"""Seconds before a stream that ended is opened again while its pod goes on."""
LONGEST = 256 << 10
"""Bytes of one line; a longer one is kept in lines of this length, each behind the same time."""
STEP = 256 << 10
"""Bytes that are looked at in one go."""
REFUSED = 400
"""What the API server answers while a container has no log yet."""

TIME_SIZE = len("2026-01-01T00:00:00.000000000Z")
_PLAIN = re.compile(
    rb"(?:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z [^\n]{0,%d}+\n)*+" % (LONGEST - TIME_SIZE - 1)
)


class Tail:
    """One pod's log, for one reading.

    `over` tells whether the pod has ended, as far as we have heard; `idle` is told when reading waits for the API server and
    goes on again.
    """

    def __init__(
        self,
        cluster: Cluster,
        log: JobLog,
        name: str,
        pod: str,
        over: Callable[[], bool],
        idle: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """`pod` is what its parts are named by: CREATED.UID."""
        self._cluster = cluster
        self._log = log
        self._name = name
        self._pod = pod
        self._over = over
        self._idle = idle
        self._parts: list[Part] = []
        self._open = b""
        """The content of the last part, which still grows."""
        self._end = 0
        """Bytes received altogether."""
        self._since = b""
        """The time of the last line."""
        self._same = 0
        """Lines that had it."""
        self._line = b""
        """The beginning of a line that has not ended."""
        self._dirty = False
        self._written = 0.0
        """monotonic() of the last flush."""
        self._whole = False
        """The last stream that was opened ended in good order."""
        self._known, self._passed = b"", 0
        """The last time that was received before this stream, and its lines that are still to come again; empty behind them."""
        self.lost = False
        """The machine of the pod had no log of it any more, or not from where reading went on."""

    async def run(self) -> bool:
        """Read to the end. False where something is missing: the pod was gone before. Raises Unavailable (the objects')."""
        await self._resume()
        backoff = Backoff()
        while True:
            over = self._over()
            try:
                await self._stream(follow=not over)
                backoff.reset()
            except ClusterError as error:
                if error.http_status == MISSING:
                    await self._finish()
                    return self._whole and not self.lost
                if error.http_status != REFUSED:
                    log.info("a log is opened again", pod=self._name, reason=error.message)
                elif over:
                    await self._finish()
                    return False  # the container's log is not there any more
                self._idle(True)
                await asyncio.sleep(backoff.next(error.wait))
                self._idle(False)
                continue
            if over:
                await self._finish()
                return not self.lost
            await asyncio.sleep(AGAIN)

    async def _resume(self) -> None:
        """Where the parts of this pod end. Raises Unavailable."""
        self._parts = [part for part in await self._log.parts() if part.pod == self._pod]
        if not self._parts:
            return
        self._open, last = b"", self._parts[-1]
        while self._parts and not self._open:
            last = self._parts.pop()
            content = await self._log.read(last)
            self._open = content[: content.rfind(b"\n") + 1]  # a line that has not ended is received again
        self._end = last.offset + len(self._open)
        times = _times(self._open)
        self._since = times[-1] if times else b""
        self._same = times.count(self._since)
        for part in reversed(self._parts):
            if not times or times[0] != self._since:
                break
            times = _times(await self._log.read(part))
            self._same += times.count(self._since)

    # receiving --------------------------------------------------------------------------------------------------

    async def _stream(self, *, follow: bool) -> None:
        """One stream, until it ends. Raises ClusterError, Unavailable."""
        params = {"container": CONTAINER, "timestamps": "true"}
        if follow:
            params["follow"] = "true"
        if self._since:
            params["sinceTime"] = self._since[:19].decode() + "Z"
        self._known, self._passed = self._since, self._same
        pace = Pace()
        url = self._cluster.url(PODS, "pods", self._name, "log")
        async with self._cluster.stream(url, params, silence=SILENCE) as answer:
            self._whole, self._line = False, b""
            heard = monotonic()
            while True:
                try:
                    chunk = await asyncio.wait_for(answer.content.readany(), FLUSH)
                except aiohttp.ServerTimeoutError:  # also a TimeoutError, but the stream's own: it is dead
                    raise
                except TimeoutError:
                    await self._flush()
                    if follow and monotonic() - heard > STUCK and self._over():
                        return
                    continue
                if not chunk:
                    break
                heard = monotonic()
                for at in range(0, len(chunk), STEP):
                    if fresh := self._fresh(self._line + chunk[at : at + STEP]):
                        self.lost |= pace.skipped(self._since, len(fresh), time())
                        await self.take(fresh)
                    await asyncio.sleep(0)  # a program that writes fast leaves the others their turn
                if monotonic() - self._written > FLUSH:
                    await self._flush()
        self._whole = True

    def _fresh(self, text: bytes) -> bytes:
        """What was not received before, in whole lines behind their times in UTC; a line that has not ended is kept back."""
        plain = 0
        if not self._known and (plain := _end_of_plain(text)):
            since, count = _last_moment(text, plain)
            self._mark(since, count, whole=count == text.count(b"\n", 0, plain))
        *lines, rest = text[plain:].split(b"\n")
        *full, self._line = pieces(rest)
        fresh = [text[:plain]]
        for raw in [*(piece for line in lines for piece in pieces(line)), *full]:
            time, line = _in_utc(raw)
            if not time:  # not the container's words: the machine says that it has no log
                self.lost = True
            elif not self._is_known(time):
                self._mark(time, 1, whole=True)
                fresh.append(line + b"\n")
        return b"".join(fresh)

    def _is_known(self, time: bytes) -> bool:
        """Whether a line was received before: up to the last one that was, all were."""
        if time < self._known:
            return True
        if time == self._known and self._passed:
            self._passed -= 1
            return True
        if self._known and self._passed:
            self.lost = (
                True  # the one that we left off at is not there any more, nor what may have followed it
            )
        self._known, self._passed = b"", 0
        return False

    def _mark(self, time: bytes, count: int, *, whole: bool) -> None:
        """The last lines have this time; `whole`: all that were received at once."""
        self._same = count + (self._same if whole and time == self._since else 0)
        self._since = time

    async def take(self, text: bytes) -> None:
        """Keep what was received. Raises Unavailable."""
        self._open += text
        self._end += len(text)
        self._dirty = True
        while len(self._open) >= PART:
            await self._close_part()

    # writing ----------------------------------------------------------------------------------------------------

    async def _flush(self) -> None:
        if self._dirty:
            await self._log.write(self._pod, self._end - len(self._open), self._open)
            self._dirty = False
        self._written = monotonic()

    async def _close_part(self) -> None:
        """Write a full part, and leave out of the middle what is too much."""
        start = self._end - len(self._open)
        cut = self._open.rfind(b"\n", 0, PART) + 1 or PART  # whole lines: whoever reads on begins with a time
        full, self._open = self._open[:cut], self._open[cut:]
        await self._log.write(self._pod, start, full)
        self._parts.append(Part(self._pod, start, len(full)))
        while sum(part.size for part in self._parts) > HEAD + TAIL:
            middle = next(part for part in self._parts if part.offset >= HEAD)
            await self._log.drop(middle)
            self._parts.remove(middle)

    async def _finish(self) -> None:
        time, line = _in_utc(self._line)
        if time:
            await self.take(line)
            self._line = b""
        await self._flush()


def _end_of_plain(text: bytes) -> int:
    """How far a text is lines as nearly all are: each behind a time as we write it, none too long. Looked at as one."""
    found = _PLAIN.match(text)
    return found.end() if found else 0


def _last_moment(text: bytes, end: int) -> tuple[bytes, int]:
    """The time of the last line before `end`, and how many lines in a row have it there."""
    count, start = 0, text.rfind(b"\n", 0, end - 1) + 1
    time = text[start : start + TIME_SIZE]
    while end and text.startswith(time, start):
        count, end = count + 1, start
        start = text.rfind(b"\n", 0, end - 1) + 1 if end else 0
    return time, count


def pieces(line: bytes) -> list[bytes]:
    """A line, or what is kept of one that is too long: always cut at the same bytes, so that it can be read again."""
    if len(line) <= LONGEST:
        return [line]
    time, _, text = line.partition(b" ")
    if not moment(time):
        return [line[:LONGEST]]
    return [time + b" " + text[at : at + LONGEST] for at in range(0, len(text), LONGEST)]


def _in_utc(line: bytes) -> tuple[bytes, bytes]:
    """The time before a line, in UTC, and the line behind it; no time where there is none."""
    word, space, text = line.partition(b" ")
    time = moment(word)
    return time, line if time == word else time + space + text


def _times(content: bytes) -> list[bytes]:
    """The times of the lines of a part."""
    return [moment(line.partition(b" ")[0]) for line in content.removesuffix(b"\n").split(b"\n") if line]


def pod_key(pod: dict[str, Any]) -> str:
    """What the parts of a pod are named by: in the order in which the pods of a launch were made."""
    metadata = pod["metadata"]
    made = str(metadata.get("creationTimestamp") or "").translate({ord("-"): None, ord(":"): None})
    return f"{made}.{str(metadata['uid'])[:8]}"
