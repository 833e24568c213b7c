"""Circuits: whether the hosts of services may be called. Shared by all workers, so that one finds out for all."""

from __future__ import annotations

from dataclasses import dataclass

from app.store.client import Batcher, Script
from app.store.keys import Keys

ASK = Script("circuit_ask")
FAILED = Script("circuit_failed")

LONGEST = 10
"""A circuit that opens again and again stays open for so many times its first time, at most."""
PROBE_MS = 30_000
"""How long the one call that tries a host again keeps the others waiting."""
KEPT_MS = 24 * 3600 * 1000


@dataclass(slots=True, frozen=True)
class Gate:
    """What a circuit says to one who wants to call."""

    wait_ms: int
    """0: call it."""
    failures: int
    """How many calls failed in a row."""


class Circuits:
    def __init__(self, batcher: Batcher, keys: Keys, failures: int, pause_ms: int) -> None:
        self._batcher = batcher
        self._keys = keys
        self._failures = failures
        self._pause_ms = pause_ms

    async def ask(self, host: str) -> Gate:
        """Whether `host` (host:port) may be called; a half-open circuit lets one through at a time."""
        wait, failures = await self._batcher.script(ASK, [self._keys.circuit(host)], [PROBE_MS])
        return Gate(wait, failures)

    async def failed(self, host: str) -> int:
        """A call failed by the host's fault. ms for which that opened its circuit, 0 if it did not."""
        args = [self._failures, self._pause_ms, LONGEST * self._pause_ms, KEPT_MS]
        _, pause = await self._batcher.script(FAILED, [self._keys.circuit(host)], args)
        return int(pause)

    async def succeeded(self, host: str) -> None:
        """A call of a host that had failed was answered: its circuit is closed."""
        await self._batcher.call("DEL", self._keys.circuit(host))

    async def get(self, host: str) -> tuple[int, int]:
        """(failures in a row, ms until which it is open or 0), for those who only look."""
        failures, until = await self._batcher.call("HMGET", self._keys.circuit(host), "f", "o")
        return int(failures or 0), int(until or 0)
