"""A node's processes as containers of a local engine, made as the container executor makes them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from pathlib import Path
from typing import Any

import orjson

from app.cli.certify.programs import Running, life_of
from app.cli.certify.subject import Subject
from app.core.podspec import PodSpec, Resources
from app.core.tasks import Task
from app.errors import UsageError
from app.settings import Settings
from workers.executors.base import Launch
from workers.executors.container import spec
from workers.executors.container.engine import Engine, EngineError
from workers.executors.container.executor import own_user
from workers.executors.container.logcopy import copy_log
from workers.executors.container.reasons import with_output
from workers.executors.launchfiles import OUTPUT_LIMIT, LaunchFiles
from workers.executors.naming import launch_name
from workers.executors.rate import Backoff

TRIES, LONGEST = 6, 2.0
"""How often it is tried to start a container, since an engine may fail for a moment; the longest pause in seconds."""
NETWORK = "host"
"""The API listens on this machine's loopback, at a port of its own."""


class Container:
    """One container; its log is copied while it runs."""

    def __init__(self, engine: Engine, name: str, task: Task, log: Path) -> None:
        self._engine = engine
        self._name = name
        self._task = task
        self._ending = asyncio.create_task(self._end())
        self._copying = asyncio.create_task(copy_log(engine, name, log))

    async def _end(self) -> int:
        async with self._engine.stream("POST", f"/containers/{self._name}/wait", {}, silence=None) as told:
            return int(orjson.loads(await told.read())["StatusCode"])

    async def wait(self) -> int:
        return await asyncio.shield(self._ending)

    async def signal(self, number: int) -> None:
        await self._engine.kill(self._name, signal.Signals(number).name)

    async def output(self) -> tuple[str | None, str | None]:
        raw = await self._engine.read_file(self._name, spec.OUTPUT, OUTPUT_LIMIT + 1)
        end = with_output(self._task, raw)
        return end.output, end.message or None

    async def close(self) -> None:
        self._copying.cancel()
        await self._engine.remove(self._name)
        await asyncio.gather(self._ending, self._copying, return_exceptions=True)


class Containers:
    """Containers of one subject, which has an image."""

    def __init__(self, subject: Subject, data: Path, logs: Path, settings: Settings) -> None:
        """`settings`: where the engine is, and its user and further volumes. Raises UsageError for an address that is none."""
        self._subject = subject
        self._logs = logs
        self._address = settings.container_engine
        self._engine = Engine(settings)
        self._site = spec.Site(
            instance=f"certify-{secrets.token_hex(4)}", network=NETWORK, api_url="",
            user=settings.container_user or own_user(),
            volumes=(f"{data}:{data}:rw", f"{(top := subject.sample.directory)}:{top}:ro",
                     *spec.volumes(settings.container_volumes)),
        )  # fmt: skip
        self._started: list[Container] = []
        os.chmod(data, 0o777)  # noqa: S103  (another user's: its directory above is ours alone)

    async def check(self) -> None:
        """Have the image. Raises UsageError where there is no engine or no such image."""
        image = str(self._subject.image)
        try:
            if not await self._engine.has_image(image):
                await self._engine.pull(image)
        except EngineError as error:
            raise UsageError(
                f"{image} cannot be run: {error.message}; HEADRACE_CONTAINER_ENGINE names the engine, and is {self._address}"
            ) from error

    async def start(self, launch: Launch, life: int, every: int | None) -> Running:
        task, backoff = life_of(launch.task, life), Backoff(longest=LONGEST)
        name = launch_name(self._site.instance, task)
        body = spec.body(self._pattern(launch), task, launch.environment())
        tries = 1
        while True:
            try:
                return await self._made(name, body, task)
            except EngineError as error:
                await self._engine.remove(name)
                if tries == TRIES:
                    raise UsageError(f"the container could not be started: {error.message}") from error
            tries += 1
            await asyncio.sleep(backoff.next())

    async def _made(self, name: str, body: dict[str, Any], task: Task) -> Container:
        await self._engine.create(name, body)
        await self._engine.put_directory(name, spec.KEPT, spec.OUTPUT_DIRECTORY)
        await self._engine.start(name)
        files = LaunchFiles(self._logs, task)
        files.base.parent.mkdir(parents=True, exist_ok=True)
        self._started.append(Container(self._engine, name, task, files.log))
        return self._started[-1]

    def _pattern(self, launch: Launch) -> spec.Pattern:
        kind = self._subject.type
        pattern = spec.Pattern(
            self._site, launch.graph.workflow, launch.graph.version, launch.node, str(self._subject.image),
            tuple((kind and kind.entrypoint) or ()), Resources(**(kind.resources if kind else {})),
            PodSpec(**(kind.kubernetes if kind else {})),
        )  # fmt: skip
        spec.check(pattern)
        return pattern

    async def close(self) -> None:
        for each in self._started:
            with contextlib.suppress(EngineError):
                await each.close()
        await self._engine.close()
