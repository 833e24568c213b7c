"""The container executor: a node run is a container of a local engine, and outlives its worker.

A container stands for its launch by its name, so a worker that dies takes nothing along: another one finds it there.
"""

from __future__ import annotations

import asyncio
import os
from time import monotonic
from typing import Any

import structlog

from app.core.placement import Placement
from app.core.signals import exit_of
from app.core.tasks import Task
from app.errors import HeadraceError, NotFound, Unavailable
from app.settings import Settings
from app.store.store import Store
from workers.executors.base import Launch, Report
from workers.executors.container import spec
from workers.executors.container.engine import MISSING, Engine, EngineError, Silent
from workers.executors.container.keeper import Keeper
from workers.executors.container.reasons import UNSTARTED, state
from workers.executors.images import program_of
from workers.executors.naming import SPEC, TASK, launch_name
from workers.executors.rate import Backoff

log = structlog.get_logger("headrace.container")

NOBODY = "65532:65532"
"""The user of containers where the worker itself is root."""
LOOK = 1.0
"""Seconds between looks whether a launch whose image is being pulled must stop."""


class Hindered(HeadraceError):
    """A container cannot be started yet."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        """As Kubernetes would name it: ImagePullBackOff, ..."""


def own_user() -> str:
    """The worker's own user, for whom files that nodes write are its own; nobody's where that is root."""
    uid = os.getuid()
    return NOBODY if uid == 0 else f"{uid}:{os.getgid()}"


class ContainerExecutor:
    def __init__(
        self, store: Store, worker: str, settings: Settings, placement: Placement, report: Report
    ) -> None:
        """Raises UsageError for settings that make no sense."""
        self._store = store
        self._placement = placement
        self._report = report
        self._capacity = settings.worker_capacity
        self._engine = Engine(settings)
        self._keeper = Keeper(store, self._engine, settings, worker, report, lambda: self.on_free())
        self._site = spec.Site(
            instance=settings.prefix,
            network=settings.container_network,
            user=settings.container_user or own_user(),
            volumes=spec.volumes(settings.container_volumes),
            api_url=settings.container_api_url,
        )
        self._submitting: set[Task] = set()
        self._pulls: dict[str, asyncio.Lock] = {}
        self.on_free = lambda: None

    def free(self) -> int:
        """None while the engine does not answer: other workers' may."""
        busy = len(self._keeper.kept.keys() | self._submitting)
        return self._capacity - busy if self._keeper.answering else 0

    # submitting -------------------------------------------------------------------------------------------------

    async def submit(self, launch: Launch) -> None:
        """Start the container, or adopt the one that is there. Raises HeadraceError where it can never start."""
        self._submitting.add(launch.task)
        try:
            await self._submit(launch)
        finally:
            self._submitting.discard(launch.task)
            self.on_free()

    async def _submit(self, launch: Launch) -> None:
        task, backoff, told = launch.task, Backoff(), False
        pattern = await self._pattern(launch)
        while True:
            try:
                container = await self._started(launch, pattern)
                break
            except EngineError as error:
                hindrance = Hindered(
                    "EngineUnavailable" if isinstance(error, Silent) else "CreateContainerError",
                    error.message,
                )
            except Hindered as error:
                hindrance = error
            log.warning("a container is not started yet", task=task.encode(), reason=hindrance.message)
            await self._tell(task, hindrance.reason, hindrance.message)
            told = True
            await asyncio.sleep(backoff.next())
        if container is None:
            await self._report(task.run, exit_of(task, message="it was stopped before it was started"))
            return
        kept = self._keeper.keep(task, container)
        if told:
            await self._tell(task, "", "")
        record = self._keeper.record
        if not await self._store.workers.launched(
            task, self._keeper.place, launch.node.timeouts.run_ms, record
        ):
            kept.stopping = monotonic() if kept.stopping is None else kept.stopping

    async def _tell(self, task: Task, reason: str, message: str) -> None:
        now = await self._store.workers.now()
        await self._store.hindrances.tell(task, reason, message, now)

    async def _started(self, launch: Launch, pattern: spec.Pattern) -> str | None:
        """The id of the launch's container, which runs or has run; None where there is none and it must not start any more.

        Raises Hindered and EngineError for what may pass, and another HeadraceError for what will not.
        """
        name = launch_name(self._site.instance, launch.task)
        if not await self._store.workers.goes_on(launch.task):
            return await self._adopted(name, pattern, launch.task, running=True)
        always = pattern.pod.image_pull_policy == "Always"
        container = await self._adopted(name, pattern, launch.task, running=False) if always else None
        if container is None:
            if always:
                await self._pull(launch.task, pattern.image, again=True)
            container = await self._created(name, launch, pattern)
        try:
            await self._engine.start(container)
        except EngineError as error:
            await self._not_started(launch.task, container, error)
        return container

    async def _created(self, name: str, launch: Launch, pattern: spec.Pattern) -> str:
        """The id of the container of that name, made now or before."""
        body: dict[str, Any] = spec.body(pattern, launch.task, launch.environment())
        for pulled in (False, True):
            try:
                container = await self._engine.create(name, body)
            except EngineError as error:
                if error.taken:
                    found = await self._adopted(name, pattern, launch.task, running=False)
                    if found is not None:
                        return found
                elif error.http_status == MISSING and not pulled:
                    await self._pull(
                        launch.task, pattern.image, never=pattern.pod.image_pull_policy == "Never"
                    )
                    continue
                elif not error.passing:
                    raise NotFound(f"the container engine does not take it: {error.message}") from error
                raise
            await self._engine.put_directory(container, spec.KEPT, spec.OUTPUT_DIRECTORY)
            return container
        raise Hindered("CreateContainerError", "the image is there and cannot be used")

    async def _adopted(self, name: str, pattern: spec.Pattern, task: Task, *, running: bool) -> str | None:
        """The id of the container of that name where it is this launch's; None where there is none.

        One that never began to run is none where it must be `running`; it is removed. Raises Unavailable for another's.
        """
        try:
            found = await self._engine.inspect(name)
        except EngineError as error:
            if error.http_status == MISSING:
                return None
            raise
        labels = (found.get("Config") or {}).get("Labels") or {}
        if (labels.get(TASK), labels.get(SPEC)) != (task.encode(), spec.spec_digest(pattern)):
            raise Unavailable("another container has the name of this launch")
        if state(found) in UNSTARTED:
            if running:
                await self._engine.remove(found["Id"])
                return None
            await self._engine.put_directory(found["Id"], spec.KEPT, spec.OUTPUT_DIRECTORY)
        return str(found["Id"])

    async def _not_started(self, task: Task, container: str, error: EngineError) -> None:
        """What a refused start means. Raises EngineError where it may have happened or may pass."""
        if isinstance(error, Silent) or state(await self._engine.inspect(container)) not in UNSTARTED:
            raise error
        await self._engine.remove(container)
        log.warning("a container could not be started", task=task.encode(), reason=error.message)
        raise StartError(f"the container could not be started: {error.message}") from error

    async def _pattern(self, launch: Launch) -> spec.Pattern:
        program = await program_of(launch.node, self._placement, self._store)
        pattern = spec.Pattern(self._site, launch.graph.workflow, launch.graph.version, launch.node, *program)
        spec.check(pattern)
        return pattern

    # images -----------------------------------------------------------------------------------------------------

    async def _pull(self, task: Task, image: str, *, again: bool = False, never: bool = False) -> None:
        """Have an image, and give up when its launch must stop. Raises Hindered."""
        if never:
            raise Hindered("ErrImageNeverPull", f"the image '{image}' is not there, and is not to be pulled")
        pulling = asyncio.create_task(self._pull_once(image, again=again))
        try:
            while not pulling.done() and await self._store.workers.goes_on(task):
                await asyncio.wait({pulling}, timeout=LOOK)
            if not pulling.done():
                raise Hindered("ImagePullBackOff", "it was stopped while its image was pulled")
            await pulling
        except Silent:
            raise
        except EngineError as error:
            raise Hindered(
                "ImagePullBackOff", f"the image '{image}' was not pulled: {error.message}"
            ) from error
        finally:
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)

    async def _pull_once(self, image: str, *, again: bool) -> None:
        """One pull of an image at a time; those that waited for it have it. Raises EngineError."""
        async with self._pulls.setdefault(image, asyncio.Lock()):
            if again or not await self._engine.has_image(image):
                await self._engine.pull(image)

    # loops ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look after the containers, for ever."""
        await self._keeper.run()

    async def close(self) -> None:
        """Let go: the containers go on, and other workers look after them."""
        await self._keeper.close()
        await self._engine.close()


class StartError(HeadraceError):
    """The container could not be started."""
