"""When processes are killed. Pure: a plan is made of what an unharmed run said, and of a seed.

What a run says is a sequence of entries: the start, the ends of the four steps, and the positions inside execute, which
are counted from 1 over all its processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from app.core.states import STEPS

POSITION = "position"
SPAWN = "spawn"
"""What a program without the protocol says: nothing but that it is there."""
EXECUTE = "execute"
MOST_DEATHS = 3
"""Processes of one run that die at random places, at most."""


class Entry(NamedTuple):
    """One thing that a run said, and when: seconds since its first process began."""

    name: str
    """configure, execute, output, finalize, or position."""
    number: int
    """Of a position; 0 for the end of a step."""
    at: float


@dataclass(frozen=True, slots=True)
class Moment:
    """When a process is killed: around an entry, or a while after it."""

    name: str
    number: int = 0
    before: bool = False
    """Before the entry is taken; else after it, and before the process hears of it."""
    wait: float | None = None
    """Seconds that the process goes on after the entry."""
    share: float = 0.0
    """`wait` as a share of what an unharmed run took until the next entry."""
    hold: bool = False
    """It is stopped instead, and goes on once its successor has begun."""

    def is_at(self, name: str, number: int) -> bool:
        return (self.name, self.number) == (name, number)

    @property
    def text(self) -> str:
        """For people: "before configure", "after position 3", "on the way to position 4", "before any position"."""
        if self.hold:
            return f"held before {_place(self.name, self.number)}"
        if self.name == SPAWN:
            return f"at {self.share:.0%} of its time"
        if self.wait is not None:
            return f"on the way to position {self.number + 1}" if self.number else "before any position"
        return f"{'before' if self.before else 'after'} {_place(self.name, self.number)}"


def _place(name: str, number: int) -> str:
    return f"{name} {number}" if name == POSITION else name


@dataclass(frozen=True, slots=True)
class Case:
    """One run: the moments at which its processes die, one after another."""

    moments: tuple[Moment, ...]
    every: int | None = None
    """Records between two positions, where the node can be told; None: its own."""
    text: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", ", ".join(moment.text for moment in self.moments) or "unharmed")


def plan(said: Sequence[Entry], took: float, kills: int, seed: int, every: int | None = None) -> list[Case]:
    """The runs that a node must survive: around the end of each step, held once, and `kills` at random places.

    `said`: what an unharmed run of `took` seconds did; empty for a program without the protocol, which is killed at
    random moments only.
    """
    random = Random(seed)  # noqa: S311  (to be repeated, no secret)
    if not said:
        moments = [_somewhere(random, took) for _ in range(kills)]
        return [Case((moment,), every) for moment in moments]
    found = [
        Moment(step, before=before)
        for step in STEPS
        if any(entry.name == step for entry in said)
        for before in (True, False)
    ]
    last = max((entry.number for entry in said), default=0)
    middle = (last + 1) // 2
    found.append(
        Moment(POSITION, middle, before=True, hold=True) if last else Moment(EXECUTE, before=True, hold=True)
    )
    cases = [Case((moment,), every) for moment in found]
    return cases + [Case(_deaths(random, said, last), every) for _ in range(kills)]


def _somewhere(random: Random, took: float) -> Moment:
    share = random.uniform(0.05, 0.95)
    return Moment(SPAWN, wait=share * took, share=share)


def _deaths(random: Random, said: Sequence[Entry], last: int) -> tuple[Moment, ...]:
    """One death or several, in the order of the stream."""
    if not last:
        return (_on_the_way(random, said, 1),)
    places = sorted(random.sample(range(1, last + 1), random.randint(1, min(MOST_DEATHS, last))))
    return tuple(_death(random, said, place) for place in places)


def _death(random: Random, said: Sequence[Entry], place: int) -> Moment:
    kind = random.choice(("before", "after", "on the way"))
    if kind == "on the way":
        return _on_the_way(random, said, place)
    return Moment(POSITION, place, before=kind == "before")


def _on_the_way(random: Random, said: Sequence[Entry], place: int) -> Moment:
    """Between the entry before a position and that position; without positions between configure and execute."""
    share = random.random()
    index = next(i for i, entry in enumerate(said) if entry.name == EXECUTE or entry.number == place)
    earlier = said[index - 1].at if index else 0.0
    name, number = (POSITION, place - 1) if place > 1 else ("configure", 0)
    return Moment(name, number, wait=share * (said[index].at - earlier), share=share)
