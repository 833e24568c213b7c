"""Identifiers: sortable by time, short (they are part of every key of a run), without meaning."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case."""


def new_id(prefix: str) -> str:
    """`prefix` + 9 characters of ms since the epoch + 11 random ones (55 bits)."""
    number = (time.time_ns() // 1_000_000 << 55) | secrets.randbits(55)
    return prefix + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(95, -1, -5))
