"""The children of a supervisor: one process each. The kernel takes them when their parent dies."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from app.embedded import EmbeddedValkey, die_with_parent

MAX_LOG = 16 * 1024 * 1024
"""Bytes past which a child's log is moved aside when the child is started."""


class Child(Protocol):
    """Something that can be started, dies, and can be started again."""

    @property
    def name(self) -> str: ...

    @property
    def log(self) -> Path: ...

    @property
    def pid(self) -> int | None:
        """The running process, or None."""
        ...

    async def start(self) -> None:
        """Raises Unavailable or OSError when it cannot be started now."""
        ...

    async def wait(self) -> int:
        """The exit code, once the process has ended; negative for a signal."""
        ...

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when the process has ended."""
        ...


class ProcessChild:
    """A command in a session of its own, so that Ctrl-C reaches only its parent."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._env = env
        self._fds = tuple(pass_fds)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        with suppress(OSError):
            if self.log.stat().st_size > MAX_LOG:
                self.log.replace(self.log.with_suffix(".1.log"))
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
                pass_fds=self._fds,
            )

    async def wait(self) -> int:
        return await self._process.wait() if self._process else 0

    def signal(self, number: int) -> None:
        if self._process and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


class ValkeyChild:
    """The embedded Valkey, started from a thread that lives as long as we do: its end would count as ours."""

    name = "valkey"

    def __init__(self, server: EmbeddedValkey) -> None:
        self._server = server
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="valkey")

    @property
    def log(self) -> Path:
        return self._server.log

    @property
    def pid(self) -> int | None:
        process = self._server.process
        return process.pid if process and process.returncode is None else None

    async def start(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._server.start)
        except BaseException:
            self.signal(signal.SIGKILL)
            raise

    async def wait(self) -> int:
        process = self._server.process
        return await asyncio.to_thread(process.wait) if process else 0

    def signal(self, number: int) -> None:
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
