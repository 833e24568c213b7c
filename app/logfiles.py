"""Where the log of a launch is, and where the API looks for it."""

from __future__ import annotations

from pathlib import Path


def log_path(log_dir: Path, run: str, ref: str, attempt: int, launch: int) -> Path:
    """LOG_DIR/RUN/REF.ATTEMPT.LAUNCH.log; the colon of an item's ref becomes a dash."""
    return log_dir / run / log_name(ref, attempt, launch)


def log_name(ref: str, attempt: int, launch: int) -> str:
    """The name of the log of a launch, below the name of its run."""
    return f"{ref.replace(':', '-')}.{attempt}.{launch}.log"
