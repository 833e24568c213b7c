"""Identifiers: sortable by time, short (they are part of every key of a run), without meaning."""

from __future__ import annotations

import os
import time


def new_id() -> str:
    """24 hexadecimal digits: ms since the epoch, then 52 random bits."""
    return f"{time.time_ns() // 1_000_000:011x}{int.from_bytes(os.urandom(7), 'big') >> 4:013x}"


def new_trigger_ids() -> tuple[str, str]:
    """(receipt, run) of a trigger: "t" and "r" before the same characters, so that each is found from the other."""
    shared = new_id()
    return f"t{shared}", f"r{shared}"


def receipt_of(run: str) -> str:
    """The receipt of the trigger that a run came from."""
    return f"t{run[1:]}"


def run_of(receipt: str) -> str:
    """The run that a trigger becomes, found from its receipt."""
    return f"r{receipt[1:]}"


def made_at(id_: str) -> int:
    """ms since the epoch when a run's or receipt's id was made, by the clock of who made it."""
    return int(id_[1:12], 16)
