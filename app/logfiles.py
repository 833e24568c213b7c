"""Where the process executor keeps the log of a launch, and where the API looks for it."""

from __future__ import annotations

from pathlib import Path


def log_path(log_dir: Path, run: str, ref: str, attempt: int, launch: int) -> Path:
    """LOG_DIR/RUN/REF.ATTEMPT.LAUNCH.log; the colon of an item's ref becomes a dash."""
    return log_dir / run / f"{ref.replace(':', '-')}.{attempt}.{launch}.log"
