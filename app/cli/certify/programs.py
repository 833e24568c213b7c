"""How the processes of a node are started, killed with -9, held and let go on; what they left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from shutil import which
from typing import Protocol

from app.core.tasks import Task
from app.embedded import die_with_parent
from app.errors import UsageError
from workers.executors.base import Launch
from workers.executors.launchfiles import LaunchFiles
from workers.executors.process import environment


class Running(Protocol):
    """One process, or one container, of a node."""

    async def wait(self) -> int:
        """The exit code, once it has ended; negative for a signal."""
        ...

    async def signal(self, number: int) -> None:
        """Send a signal to all of it; nothing happens where it has ended."""
        ...

    async def output(self) -> tuple[str | None, str | None]:
        """What a program without the protocol left: (metadata as JSON or None, what is wrong with it or None)."""
        ...


class Programs(Protocol):
    """Starts processes of one node."""

    async def check(self) -> None:
        """Raises UsageError where nothing of it can be started."""
        ...

    async def start(self, launch: Launch, life: int, every: int | None) -> Running:
        """The process number `life` of a launch, with a position every so many records where it can be told.

        Raises HeadraceError, OSError where it cannot be started.
        """
        ...

    async def close(self) -> None:
        """Nothing of it is left."""
        ...


class Process:
    """A local process in a session of its own; the kernel ends it when we die."""

    def __init__(self, process: asyncio.subprocess.Process, files: LaunchFiles) -> None:
        self._process = process
        self._files = files

    async def wait(self) -> int:
        return await self._process.wait()

    async def signal(self, number: int) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    async def output(self) -> tuple[str | None, str | None]:
        return await asyncio.to_thread(self._files.read_output)


class Processes:
    """Local processes of a command."""

    def __init__(self, command: list[str], logs: Path, *, paced: bool = False) -> None:
        """`paced`: the command takes `--every N`."""
        self._command = command
        self._logs = logs
        self._paced = paced
        self._started: list[Process] = []

    async def check(self) -> None:
        if which(self._command[0]) is None:
            raise UsageError(f"there is no program {self._command[0]} here: the manifest's command names it")

    async def start(self, launch: Launch, life: int, every: int | None) -> Running:
        files = LaunchFiles(self._logs, life_of(launch.task, life))
        files.base.parent.mkdir(parents=True, exist_ok=True)
        command = [*self._command, *(["--every", str(every)] if self._paced and every else [])]
        with files.log.open("ab") as log:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command, env=environment(launch.environment(), files), stdin=asyncio.subprocess.DEVNULL,
                    stdout=log, stderr=log, start_new_session=True, preexec_fn=die_with_parent,
                )  # fmt: skip
            except OSError as error:
                raise UsageError(f"the program {command[0]} cannot be started: {error.strerror}") from error
        self._started.append(Process(process, files))
        return self._started[-1]

    async def close(self) -> None:
        for each in self._started:
            await each.signal(signal.SIGKILL)
            await each.wait()


def life_of(task: Task, life: int) -> Task:
    """The task whose files and names are those of one process of a launch."""
    return task._replace(launch=life)
