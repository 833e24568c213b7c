"""How fast we ask what runs our nodes, and how long we wait after it said no."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from time import monotonic

ASKED_MOST = 60.0
"""Seconds that we wait at most because a server asked for it: a mistaken Retry-After holds nothing up for a day."""


class TokenBucket:
    """At most `rate` passes a second, and `burst` at once; waiters pass in the order they came."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._at = clock()

    def delay(self) -> float:
        """Take a pass; the seconds until it may be used."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1
        self._at = now
        return 0.0 if self._tokens >= 0 else -self._tokens / self._rate

    async def take(self) -> None:
        delay = self.delay()
        if delay > 0:
            await asyncio.sleep(delay)


class Backoff:
    """Waits that double from `first` to `longest` seconds, each between half and all of it; reset by a success."""

    def __init__(
        self, first: float = 0.2, longest: float = 30.0, jitter: Callable[[], float] = random.random
    ) -> None:
        self._first = first
        self._longest = longest
        self._jitter = jitter
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next(self, at_least: float | None = None) -> float:
        """Seconds to wait now; never less than the server asked for, up to ASKED_MOST."""
        full = min(self._longest, self._first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        wait = full * (0.5 + 0.5 * self._jitter())
        asked = min(at_least or 0.0, ASKED_MOST)
        return max(wait, asked * (1 + 0.1 * self._jitter()))
