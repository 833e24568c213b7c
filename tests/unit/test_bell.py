"""A loop that sleeps until its bell rings wakes in time, and ends when it is told to."""

from __future__ import annotations

import asyncio

import pytest

from app.bell import rung


async def test_a_bell_that_rings_is_told_from_a_time_that_is_over():
    bell = asyncio.Event()
    assert await rung(bell, 0.001) is False
    bell.set()
    assert await rung(bell, 60) is True


async def test_a_sleeper_that_is_cancelled_as_its_bell_rings_is_cancelled():
    bell = asyncio.Event()
    sleeper = asyncio.create_task(rung(bell, 60))
    await asyncio.sleep(0)
    bell.set()
    sleeper.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeper
