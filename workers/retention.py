"""Finished runs on their way out: small ones are packed, those whose time is over are archived and removed.

Every step may be repeated, so a worker may die between any two: what it had in hand is due again a minute later.
"""

from __future__ import annotations

import asyncio
import re
from time import monotonic

import structlog

from app.core.graph import Graph
from app.errors import HeadraceError, NotFound, StoreUnavailable
from app.objects import Objects, remove_tree
from app.settings import Settings
from app.store.exporting import history_lines
from app.store.retention import Finished, Removal
from app.store.store import Store

log = structlog.get_logger("headrace.retention")

AT_ONCE = 32
"""Runs that one worker has in hand."""
BUDGET = 15.0
"""Seconds that one sweep takes up further runs; what it has in hand by then goes on beside the next."""
IN_HAND_MS = 60_000
"""How long a run is left to the worker that took it up."""
LATER_MS = 60_000
"""When a run is looked at again that something keeps: signals, live attempts, a pin."""
FAILED_MS = 300_000
"""When it is tried again after the archive or the data could not be reached."""
ADOPTED = 500
"""Runs of the index that one sweep looks through for those whose time nobody keeps."""
OVERLAP_MS = 600_000
"""How far back one look at the removed runs begins: they are not written in the order of their times."""
LOGS = 30.0
"""Seconds between looks for runs whose logs are to be removed from this machine."""
FILES = 5_000
"""Files that are removed at a time."""
_RUN = re.compile(r"r[0-9a-f]{24}")


class Retention:
    """One worker's part. `sweep` is called again and again; it never holds the server for long."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._kept = store.retention
        self._log_dir = settings.log_dir
        self._data = Objects(settings.data_uri)
        self._logs = Objects(settings.log_uri) if settings.log_uri else None
        self._default_ms = round(settings.retention * 1000)
        self._pack_ms = round(settings.pack_after * 1000)
        self._in_hand: dict[str, asyncio.Task[None]] = {}
        self._place = 0
        self._logs_since = 0
        self._logs_seen: set[str] = set()
        self.packed = self.removed = 0

    async def sweep(self) -> dict[str, int]:
        """Take up what is due, for a while. How many runs were packed and removed meanwhile. Raises StoreUnavailable."""
        packed, removed, began = self.packed, self.removed, monotonic()
        now = await self._store.workers.now()
        self._place = await self._kept.adopt(self._place, ADOPTED, now)
        await self._kept.forget_gone(now)
        while monotonic() - began < BUDGET:
            due = await self._kept.due(await self._store.workers.now(), AT_ONCE * 2)
            fresh = [run for run in due if run not in self._in_hand]
            for run in fresh[: AT_ONCE - len(self._in_hand)]:
                await self._take(run)
            if not self._in_hand:
                break
            left = BUDGET - (monotonic() - began)
            await asyncio.wait(
                list(self._in_hand.values()), timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED
            )
        return {"packed": self.packed - packed, "removed": self.removed - removed}

    async def _take(self, run: str) -> None:
        await self._kept.postpone(run, await self._store.workers.now() + IN_HAND_MS)
        task = asyncio.create_task(self._guard(run))
        self._in_hand[run] = task
        task.add_done_callback(lambda _: self._in_hand.pop(run, None))

    async def _guard(self, run: str) -> None:
        """What fails is tried again later, and keeps no other run from its turn."""
        keeping = asyncio.create_task(self._hold(run))
        try:
            await self._handle(run)
            return
        except HeadraceError as error:
            log.error("a finished run could not be packed or removed", run=run, reason=error.message)
        except Exception:
            log.exception("a finished run could not be packed or removed", run=run)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        try:
            await self._kept.postpone(run, await self._store.workers.now() + FAILED_MS)
        except HeadraceError:
            log.warning("the store is away; the run is due again by itself", run=run)

    async def _hold(self, run: str) -> None:
        """Keep a run that takes long from being taken up by another worker."""
        while True:
            await asyncio.sleep(IN_HAND_MS / 3000)
            await self._kept.postpone(run, await self._store.workers.now() + IN_HAND_MS)

    async def close(self) -> None:
        """Let go of what is in hand: another worker goes on."""
        for task in list(self._in_hand.values()):
            task.cancel()
        await asyncio.gather(*self._in_hand.values(), return_exceptions=True)

    # one run ------------------------------------------------------------------------------------------------------

    async def _handle(self, run: str) -> None:
        removal = await self._kept.removal(run)
        if removal is not None:
            await self._remove_parts(run, removal, await self._graph(removal.workflow, removal.version))
            return
        record = await self._kept.finished(run)
        if record is None:
            await self._handle_unborn(run)
            return
        now = await self._store.workers.now()
        graph = await self._graph(record.workflow, record.version)
        if not record.over or await self._kept.is_live(record, graph):
            await self._kept.postpone(run, now + LATER_MS)
            return
        until = record.ended + (self._default_ms if graph.retention_ms is None else graph.retention_ms)
        if until <= now:
            await self._remove(record, graph, now)
        elif record.packed or not await self._pack(record, graph, until):
            await self._kept.postpone(run, until)

    async def _handle_unborn(self, run: str) -> None:
        """A run that is not there, or not yet: what was taken over for it from an earlier one goes when it will never be."""
        removal = await self._kept.leftover(run)
        if removal is not None:
            await self._remove_parts(run, removal, await self._graph(removal.workflow, removal.version))
        elif await self._kept.waits(run):
            await self._kept.postpone(run, await self._store.workers.now() + LATER_MS)
        else:
            await self._kept.forget(run)

    async def _graph(self, workflow: str, version: int) -> Graph:
        return await self._store.graphs.get(workflow, version)

    async def _pack(self, run: Finished, graph: Graph, until: int) -> bool:
        packed = await self._kept.pack(run, graph, until)
        self.packed += packed
        return packed

    async def _remove(self, run: Finished, graph: Graph, now: int) -> None:
        """Archive, then remove what others can still see last: data, logs of this machine, keys."""
        pins, held = await self._kept.pins(run.id)
        if held:
            await self._kept.postpone(run.id, now + LATER_MS)
            return
        if self._store.archive is not None:
            lines = history_lines(self._store.runs, self._store.events, run.id)
            await self._store.archive.write(run.id, lines)
        closed = await self._kept.close(run.id, pins)
        if closed is None:
            await self._kept.postpone(run.id, now + LATER_MS)
            return
        await self._remove_data(run.id)
        if not await self._kept.begin_removal(run, now, closed):
            await self._kept.postpone(run.id, now + LATER_MS)
            return
        if run.packed:
            self._gone(run.id)
            return
        removal = await self._kept.removal(run.id)
        if removal is not None:
            await self._remove_parts(run.id, removal, graph)

    async def _remove_data(self, run: str) -> None:
        if _RUN.fullmatch(run) is None:
            raise NotFound(f"'{run}' is no run of ours")
        for kept in filter(None, (self._data, self._logs)):
            while not await kept.clear(run, FILES):
                continue
        await self._remove_logs(run)

    async def _remove_parts(self, run: str, removal: Removal, graph: Graph) -> None:
        place = removal.place
        while place:
            now = await self._store.workers.now()
            place = await self._kept.remove_part(
                run, Removal(removal.workflow, removal.version, place), graph, now
            )
        self._gone(run)

    def _gone(self, run: str) -> None:
        self.removed += 1
        log.info("run removed", run=run, archived=self._store.archive is not None)

    # logs of this machine -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look after the logs of this machine, for ever."""
        while True:
            try:
                await self.sweep_logs()
            except StoreUnavailable:
                log.warning("the store is away")
            except OSError as error:
                log.error("logs of removed runs could not be removed", reason=error.strerror)
            await asyncio.sleep(LOGS)

    async def sweep_logs(self) -> int:
        """Remove this machine's logs of runs that any worker has removed; how many runs those were."""
        now, seen, skip = await self._store.workers.now(), set[str](), 0
        while rows := await self._kept.gone(self._logs_since, skip, 500):
            for run in rows:
                if run not in self._logs_seen and _RUN.fullmatch(run):
                    await self._remove_logs(run)
            seen.update(rows)
            skip += len(rows)
        count = len(seen - self._logs_seen)
        self._logs_since, self._logs_seen = now - OVERLAP_MS, seen
        return count

    async def _remove_logs(self, run: str) -> None:
        while not await asyncio.to_thread(remove_tree, self._log_dir / run, FILES):
            continue
