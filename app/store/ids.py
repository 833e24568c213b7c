"""Identifiers: sortable by time, short (they are part of every key of a run), without meaning."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case."""


def new_id() -> str:
    """9 characters of ms since the epoch + 11 random ones (55 bits)."""
    number = (time.time_ns() // 1_000_000 << 55) | secrets.randbits(55)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(95, -1, -5))


def new_trigger_ids() -> tuple[str, str]:
    """(receipt, run) of a trigger: "t" and "r" before the same characters, so that each is found from the other."""
    shared = new_id()
    return f"t{shared}", f"r{shared}"


def receipt_of(run: str) -> str:
    """The receipt of the trigger that a run came from."""
    return f"t{run[1:]}"
