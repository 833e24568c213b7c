"""Tells from the times of lines whether a log that is followed may have been skipped in part.

A kubelet keeps a log in files (containerLogMaxSize, 10 MiB) and looks every ten seconds whether to begin another. Whoever
follows a log and is behind by more than one file is led to the newest one without a word: what lies between is lost to him.
"""

from __future__ import annotations

from datetime import datetime

FILE = 8 << 20
"""Bytes of a stream before which nothing can have been skipped: a little less than the smallest file."""
BEHIND = 5.0
"""Seconds by which a stream must be later than it was at its best."""
JUMP = 5.0
"""Seconds between two times, one after the other, at least: a file that was skipped holds ten."""


class Pace:
    """Of one stream. Clocks may differ: what counts is how much later it is than it was at its best."""

    def __init__(self) -> None:
        self._size = 0
        self._last = 0.0
        self._behind = 0.0
        self._best = float("inf")

    def skipped(self, moment: bytes, size: int, now: float) -> bool:
        """Whether lines may be missing before these: `size` bytes of them, the last one of a time (UTC) as in a part."""
        at = datetime.fromisoformat(moment[:26].decode() + "+00:00").timestamp()
        jumped = (
            self._size > FILE and self._behind - self._best > BEHIND and at - self._last > JUMP
        )  # of one who was behind; a program that paused for so long meanwhile is taken for it, too
        self._size += size
        self._last, self._behind = at, now - at
        self._best = min(self._best, self._behind)
        return jumped
