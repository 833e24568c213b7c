"""Waiting for a bell, but not for ever: how loops sleep."""

from __future__ import annotations

import asyncio


async def rung(bell: asyncio.Event, seconds: float) -> bool:
    """Wait until the bell rings, for so many seconds at most. True when it rang.

    Not asyncio.wait_for: on Python 3.11 a task that is cancelled in the moment in which its bell rings goes on there as if
    nothing had been said (CPython issue 86296), and its loop would outlive its worker.
    """
    try:
        async with asyncio.timeout(seconds):
            return await bell.wait()
    except TimeoutError:
        return False
