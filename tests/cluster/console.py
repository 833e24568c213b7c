"""What the program tells the person who waits for it."""

from __future__ import annotations

import sys


def say(message: str) -> None:
    """A line of progress, on standard error: standard output carries results only."""
    print(f"cluster: {message}", file=sys.stderr, flush=True)
