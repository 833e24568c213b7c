"""Cron expressions as Kubernetes' CronJob controller reads them: five fields, brought into one canonical form.

The canonical form spells every field out (`*/15` is `0,15,30,45`), so that whoever reads it next, our own table of
ticks or a CronJob, understands the same. A day matches when the day of the month and the day of the week do, if one of
both is a bare `*`; else when either does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_TERM = re.compile(
    r"(?P<star>[*?])(?:/(?P<every>\d{1,2}))?|(?P<low>\w+)(?:-(?P<high>\w+))?(?:/(?P<step>\d{1,2}))?"
)


@dataclass(slots=True, frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    """Names of the values, from `low` on."""

    def value(self, text: str) -> int:
        """A number or a name. Raises ValueError."""
        if text.upper() in self.names:
            return self.low + self.names.index(text.upper())
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"'{text[:20]}' does not say {self.name}")
        if not self.low <= int(text) <= self.high:
            raise ValueError(f"{self.name} is {self.low} to {self.high}, not {text[:20]}")
        return int(text)

    def term(self, text: str) -> tuple[set[int], bool]:
        """(values, whether it is a bare star) of one part between commas. Raises ValueError."""
        match = _TERM.fullmatch(text)
        if match is None:
            raise ValueError(f"'{text[:20]}' does not say {self.name}: a star, a number, a range or a step")
        step = int(match["every"] or match["step"] or 1)
        if step == 0:
            raise ValueError(f"the step of {self.name} is at least 1")
        if match["star"]:
            return set(range(self.low, self.high + 1, step)), step == 1
        low = self.value(match["low"])
        high = self.value(match["high"]) if match["high"] else (self.high if match["step"] else low)
        if high < low:
            raise ValueError(f"{self.name} goes from a smaller to a larger value: {text[:20]}")
        return set(range(low, high + 1, step)), False

    def canonical(self, text: str) -> str:
        """`*`, or every value in order. Raises ValueError."""
        values, star = set[int](), False
        for part in text.split(","):
            found, whole = self.term(part)
            values |= found
            star = star or whole
        if self.names is _DAYS:
            values = {value % 7 for value in values}
        return "*" if star else ",".join(str(value) for value in sorted(values))


_FIELDS = (
    _Field("the minute", 0, 59),
    _Field("the hour", 0, 23),
    _Field("the day of the month", 1, 31),
    _Field("the month", 1, 12, _MONTHS),
    _Field("the day of the week", 0, 7, _DAYS),
)


def parse_cron(text: str) -> str:
    """The canonical form: minute, hour, day of the month, month, day of the week. Sunday is 0, or 7.

    Raises ValueError with a message fit for the user.
    """
    parts = text.split(" ")
    if len(parts) != len(_FIELDS):
        raise ValueError("a cron expression has five fields: minute, hour, day, month, day of the week")
    return " ".join(field.canonical(part) for field, part in zip(_FIELDS, parts, strict=True))
