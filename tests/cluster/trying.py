"""Commands that fetch something: a registry that has a hiccup is asked again, a bounded number of times."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.console import say
from tests.cluster.errors import ClusterError

PAUSES = (3.0, 10.0, 30.0)
"""Seconds before each further try."""
LONGEST = 900.0
"""Seconds that one try may take: a download that stands still must not hold everything up."""
TOLD = 2000


def fetch(
    command: Sequence[str],
    what: str,
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    pauses: Sequence[float] = PAUSES,
    longest: float = LONGEST,
) -> None:
    """Run a command that may be repeated until it succeeds. `environment` is beside ours.

    Raises ClusterError with the end of what it printed when no try did.
    """
    for pause in (*pauses, None):
        said = _tried(command, {**os.environ, **(environment or {})}, directory, longest)
        if said is None:
            return
        if pause is None:
            raise ClusterError(f"{what} failed {len(pauses) + 1} times, at last with:\n{said}")
        say(f"{what} failed, and is tried again in {pause:g} s: {said.splitlines()[-1] if said else ''}")
        time.sleep(pause)


def _tried(
    command: Sequence[str], environment: Mapping[str, str], directory: Path | None, longest: float
) -> str | None:
    """None where it succeeded, else the end of what it printed."""
    try:
        done = subprocess.run(
            command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=longest,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"nothing came of it within {longest:g} s"
    return None if done.returncode == 0 else (done.stdout + done.stderr).strip()[-TOLD:]
