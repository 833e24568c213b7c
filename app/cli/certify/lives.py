"""The executor of a certification: one process after another of the same launch, as a cluster replaces a pod.

A process that was killed is followed by the next one at once: the same attempt, a new epoch. Only the last one's end is
told to the engine. Nodes before the one that is certified have no process: their metadata is the sample's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from app.cli.certify.programs import Programs
from app.cli.certify.trial import Trial
from app.core.signals import Signal, exit_of
from app.errors import HeadraceError
from workers.executors.base import Launch, Report

KILLED = (-9, 137)
"""Exit codes of what was killed with -9: a process, a container."""
PLACES = 10_000
"""Launches that there is room for: how many trials there are at a time is decided elsewhere."""


class Lives:
    """An executor, by the Protocol of workers.executors.base."""

    def __init__(
        self,
        programs: Programs,
        inputs: Mapping[str, Any],
        trial_of: Callable[[Launch], Trial],
        report: Report,
    ) -> None:
        """`inputs`: the metadata of the nodes before, by name."""
        self._programs = programs
        self._inputs = inputs
        self._trial_of = trial_of
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_free: Callable[[], None] = lambda: None

    def free(self) -> int:
        return PLACES

    async def submit(self, launch: Launch) -> None:
        """Begin; returns at once."""
        task = asyncio.create_task(self._launch(launch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _launch(self, launch: Launch) -> None:
        name = launch.node.name
        if name in self._inputs:
            output = orjson.dumps(self._inputs[name]).decode()
            await self._report(launch.task.run, exit_of(launch.task, code=0, output=output))
            return
        trial = self._trial_of(launch)
        try:
            signal = await self._until_it_ends(launch, trial)
        except (HeadraceError, OSError) as error:
            signal = exit_of(launch.task, type="executor", message=str(error), retryable=False)
        trial.ended()
        if signal is not None:
            await self._report(launch.task.run, signal)

    async def _until_it_ends(self, launch: Launch, trial: Trial) -> Signal | None:
        """The end of the last process; None where one was killed after the final checkpoint, which said it all."""
        while True:
            trial.begins()
            running = await self._programs.start(launch, trial.lives, trial.case.every)
            life = trial.began(running)
            over = asyncio.create_task(running.wait())
            replaced = asyncio.create_task(life.replaced.wait())
            await asyncio.wait({over, replaced}, return_when=asyncio.FIRST_COMPLETED)
            replaced.cancel()
            if life.replaced.is_set():
                over.cancel()
                continue
            code = await over
            life.over = True
            if code not in KILLED:
                trial.survived(life)
            if not life.killed:
                return await self._end(launch, trial, life.running.output, code)
            if trial.finished:
                return None

    @staticmethod
    async def _end(launch: Launch, trial: Trial, output: Callable[[], Any], code: int) -> Signal:
        metadata, problem = await output() if code == 0 and not trial.spoke else (None, None)
        if problem is not None:
            return exit_of(launch.task, code=code, type="bad_output", message=problem)
        return exit_of(launch.task, code=code, output=metadata)

    async def run(self) -> None:
        """Nothing is adopted, and what must stop is stopped with us."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
