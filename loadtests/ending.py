"""How an experiment that kills things ends: what was done as a table, what was violated, and its exit code."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtests.oracle import Violation

SHOWN = 100
"""Violations that are printed."""


def counted(kills: Counter[str]) -> str:
    """How many were killed, and how many of each kind."""
    return f"{kills.total()}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kills.items()))


def facts(title: str, rows: Iterable[tuple[str, object]]) -> Table:
    """What was done, and what it took."""
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in rows:
        table.add_row(name, str(value))
    return table


def conclude(
    console: Console, summary: Table, violations: Sequence[Violation], kept: str, root: Path, *, remove: bool
) -> int:
    """Print it all; the exit code. `kept` names what stays in `root` where something was violated, else it goes if `remove`."""
    console.print(summary)
    for violation in violations[:SHOWN]:
        console.print(
            f"VIOLATED {violation.rule}: {violation.id}: {violation.detail}", markup=False, highlight=False
        )
    if violations:
        console.print(f"{kept} are kept in {root}", highlight=False)
        return 1
    console.print("Every promise held.")
    if remove:
        shutil.rmtree(root, ignore_errors=True)
    return 0
