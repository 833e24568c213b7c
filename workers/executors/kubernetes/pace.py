"""Tells from the times of lines whether a log that is followed may have been skipped in part.

A kubelet keeps a log in files (containerLogMaxSize, 10 MiB) and looks every ten seconds whether to begin another. Whoever
follows a log and is behind by more than one file is led to the newest one without a word: what lies between is lost to him. So
it is for one who comes to the end of a file just as the next one begins: he hears only of the one after that.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime

FILE = 8 << 20
"""Bytes of a stream before which nothing can have been skipped: a little less than the smallest file."""
BEHIND = 5.0
"""Seconds by which a stream must be later than it was at its best."""
JUMP = 5.0
"""Seconds between two times, one after the other, at least: a file that was skipped holds ten."""
QUICK = 10.0
"""Seconds between two files, at most: who writes as much in less may fill one that is skipped by who is not behind."""
MARK = FILE // 16
"""Bytes between two of the times that are kept."""


class Pace:
    """Of one stream. Clocks may differ: what counts is how much later it is than it was at its best."""

    def __init__(self) -> None:
        self._size = 0
        self._last = 0.0
        self._behind = 0.0
        self._best = float("inf")
        self._marks: deque[tuple[int, float]] = deque()
        """(size, time) now and then: the first is where the last FILE bytes began."""

    def skipped(self, moment: bytes, size: int, now: float) -> bool:
        """Whether lines may be missing before these: `size` bytes of them, the last one of a time (UTC) as in a part."""
        at = datetime.fromisoformat(moment[:26].decode() + "+00:00").timestamp()
        late = self._behind - self._best > BEHIND
        # a program that paused for so long meanwhile is taken for it, too
        jumped = self._size > FILE and at - self._last > JUMP and (late or self._quick())
        self._size += size
        self._mark(at)
        self._last, self._behind = at, now - at
        self._best = min(self._best, self._behind)
        return jumped

    def _quick(self) -> bool:
        """Whether the last FILE bytes were written within seconds."""
        size, at = self._marks[0]
        return self._size - size >= FILE and self._last - at < QUICK

    def _mark(self, at: float) -> None:
        if not self._marks or self._size - self._marks[-1][0] >= MARK:
            self._marks.append((self._size, at))
        while len(self._marks) > 1 and self._size - self._marks[1][0] >= FILE:
            self._marks.popleft()
