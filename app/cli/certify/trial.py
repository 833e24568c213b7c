"""One run: its processes one after another, what they said, and which of them is to die now."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from app.cli.certify.moments import EXECUTE, POSITION, SPAWN, Case, Entry, Moment
from app.cli.certify.programs import Running
from app.core.states import Step

PATIENCE = 30.0
"""Seconds in which a process that was refused must have ended."""
FURTHER = 1
"""Checkpoints that may have been on their way when it heard of its refusal."""


@dataclass(slots=True)
class Life:
    """One process of the attempt."""

    number: int
    running: Running
    killed: bool = False
    over: bool = False
    """It has ended."""
    replaced: asyncio.Event = field(default_factory=asyncio.Event)
    """It is held, and its successor begins."""
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """What a process was told when it began after another."""

    step: str | None
    seq: int | None

    @property
    def text(self) -> str:
        if self.step == "configure" and self.seq is not None:
            return f"{POSITION} {self.seq}"
        return self.step or "the beginning"


@dataclass(slots=True)
class Fence:
    """What became of a process that was held until its successor had begun."""

    refused: bool = False
    """Its checkpoint got 409."""
    exit_code: int | None = None
    """None: it did not end by itself."""
    further: int = 0
    """Checkpoints that it sent after that."""

    @property
    def holds(self) -> bool:
        return self.refused and self.exit_code is not None and self.further <= FURTHER


class Trial:
    """Watched by the gate and by the executor; the moments of its case are used up one after another."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.run = ""
        self.said: list[Entry] = []
        self.resumes: list[Resume] = []
        self.deaths: list[Moment] = []
        """Moments at which a process really was killed, or held."""
        self.fence: Fence | None = None
        self.finished = False
        """The final checkpoint was taken: nothing is started any more."""
        self.spoke = False
        """Some process called start."""
        self.done = 0
        """Records that the last position counts, where it says so."""
        self.positions = 0
        self.took = 0.0
        """Seconds from the first process to the end of the last."""
        self.given_up = False
        """It did not end in its time."""
        self._left = list(case.moments)
        self._lives: list[Life] = []
        self._timer: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._began = monotonic()
        self._successor = asyncio.Event()
        self._over = asyncio.Event()
        self._known = asyncio.Event()
        """The newest process is known: it may be faster than who started it."""

    # what the executor tells ------------------------------------------------------------------------------------

    @property
    def lives(self) -> int:
        """Processes that began."""
        return len(self._lives)

    def begins(self) -> None:
        """A process is about to be started."""
        self._known.clear()

    def began(self, running: Running) -> Life:
        """It was started."""
        if not self._lives:
            self._began = monotonic()
        self._lives.append(Life(len(self._lives), running))
        self._known.set()
        self._arm(SPAWN, 0)
        return self._lives[-1]

    def survived(self, life: Life) -> None:
        """It had ended by itself before it could be killed."""
        if life.killed:
            life.killed = False
            self.deaths.pop()

    def ended(self) -> None:
        """The last process is gone, and none follows."""
        self.took = monotonic() - self._began
        self._disarm()
        self._successor.set()
        self._over.set()
        self._known.set()

    async def close(self) -> None:
        """Wait until all its processes are gone."""
        if self._lives:
            await self._over.wait()
        if self._watch is not None:
            await self._watch

    async def give_up(self) -> None:
        """It takes too long: end what runs."""
        self.given_up = True
        self._disarm()
        for life in self._lives:
            await life.running.signal(signal.SIGKILL)

    # what the gate tells ----------------------------------------------------------------------------------------

    async def started(self, answer: dict[str, Any]) -> None:
        """The newest process is answered to its start."""
        await self._known.wait()
        if not self._lives:
            return
        life, epoch = self._lives[-1], int(answer["epoch"])
        checkpoint: dict[str, Any] = answer.get("checkpoint") or {}
        if life.epoch != epoch:
            first, life.epoch = life.epoch is None, epoch
            if life.number and first:
                self.resumes.append(Resume(checkpoint.get("step"), checkpoint.get("seq")))
                self._successor.set()
                if self.said:  # what is to come a while after it may have been behind another death
                    self._arm(self.said[-1].name, self.said[-1].number)
        self.spoke = True

    def speaker(self, epoch: object) -> Life | None:
        """The process that was given an epoch."""
        return next((life for life in self._lives if life.epoch == epoch), None)

    def due(self, steps: Sequence[dict[str, Any]]) -> tuple[int, Moment] | None:
        """How many entries of a call are to be taken before a process dies, and its moment; None: all, and it lives.

        A moment inside execute that has not come before execute ends comes then.
        """
        if not self._left:
            return None
        moment, positions = self._left[0], self.positions
        inside = moment.name == POSITION or moment.wait is not None
        for index, step in enumerate(steps):
            name, number = entry_of(step, positions)
            positions += name == POSITION
            if moment.wait is None and moment.is_at(name, number):
                return (index if moment.before else index + 1), moment
            if name == EXECUTE and inside and moment.name != SPAWN:
                return index, moment
        return None

    def accepted(self, steps: Sequence[dict[str, Any]]) -> None:
        """The engine took these entries."""
        for step in steps:
            name, number = entry_of(step, self.positions)
            self.positions += name == POSITION
            self.said.append(Entry(name, number, monotonic() - self._began))
            self.finished = self.finished or name == Step.FINALIZE
            if name == POSITION:
                self.done = int((step.get("progress") or {}).get("done") or 0)
            self._arm(name, number)

    async def kill(self, life: Life, moment: Moment) -> None:
        """kill -9, once."""
        if life.killed or life.over or life is not self._lives[-1] or moment not in self._left:
            return
        life.killed = True
        self._left.remove(moment)
        self.deaths.append(moment)
        self._disarm()
        await life.running.signal(signal.SIGKILL)

    async def hold(self, life: Life, moment: Moment) -> None:
        """Stop it, let its successor begin, and let it go on then. Returns when it is to be answered."""
        self._left.remove(moment)
        self.deaths.append(moment)
        await life.running.signal(signal.SIGSTOP)
        self.fence = Fence()
        self._successor.clear()
        life.replaced.set()
        await self._successor.wait()
        await life.running.signal(signal.SIGCONT)
        self._watch = asyncio.create_task(self._see_off(life, self.fence))

    async def went_on(self, life: Life) -> None:
        """A process that was replaced sent another checkpoint; one that goes on and on is ended."""
        if self.fence is not None and self.fence.refused:
            self.fence.further += 1
            if self.fence.further > FURTHER:
                await life.running.signal(signal.SIGKILL)

    @staticmethod
    async def _see_off(life: Life, fence: Fence) -> None:
        try:
            fence.exit_code = await asyncio.wait_for(life.running.wait(), PATIENCE)
        except TimeoutError:
            await life.running.signal(signal.SIGKILL)

    # moments between entries --------------------------------------------------------------------------------------

    def _arm(self, name: str, number: int) -> None:
        moment = self._left[0] if self._left else None
        if (
            moment is not None
            and moment.wait is not None
            and moment.is_at(name, number)
            and self._timer is None
        ):
            self._timer = asyncio.create_task(self._kill_after(self._lives[-1], moment, moment.wait))

    async def _kill_after(self, life: Life, moment: Moment, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._timer = None
        await self.kill(life, moment)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def entry_of(step: dict[str, Any], positions: int) -> tuple[str, int]:
    """The name and number of an entry of a checkpoints call, after so many positions."""
    return (POSITION, positions + 1) if step.get("seq") is not None else (str(step.get("step")), 0)
