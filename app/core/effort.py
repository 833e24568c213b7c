"""What expressions may cost. Units are counted, not seconds, so that the same values always have the same outcome.

A unit is about 20 ns of one core. All expressions of one node run share one budget, wherever they stand; a decision that
has used up its own begins nothing further, and the rest goes on in the next commit, so that no run holds a worker for long.
"""

from __future__ import annotations

from app.errors import ExpressionError

WORK = "$work"
"""The member of an Env that holds the Work that its evaluations share; without one each has its own."""
BUDGET = 25_000_000
"""Units that the expressions of a node run may take; about half a second."""
DECISION = 2 * BUDGET
"""Units after which a decision begins no further node run."""
PER_BYTE = 3
"""Units of a byte that is written to the store."""


class Meter:
    """Counts what the expressions of one decision used."""

    __slots__ = ("used",)

    def __init__(self) -> None:
        self.used = 0

    @property
    def full(self) -> bool:
        return self.used >= DECISION


class Work:
    """What is left of one budget."""

    __slots__ = ("left", "meter")

    def __init__(self, meter: Meter | None = None) -> None:
        self.left = BUDGET
        self.meter = meter

    def spend(self, units: int) -> None:
        """Raises ExpressionError when the budget is used up."""
        self.left -= units
        if self.meter is not None:
            self.meter.used += units
        if self.left < 0:
            raise ExpressionError(
                "too much work for an expression: its values are too large; let a node do this"
            )
