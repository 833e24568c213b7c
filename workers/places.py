"""The look at workflows with waiting runs: what a dead worker, or a resume, left to be promoted begins within seconds."""

from __future__ import annotations

import asyncio

import structlog

from app.errors import StoreUnavailable
from app.store.concurrency import ConcurrencyKeys

log = structlog.get_logger("headrace.places")

LOOK = 1.0
"""Seconds between looks at what is due."""
SOON = 0.05
"""Seconds until the next one where something was: a workflow with many keys is due page by page."""
MOST = 50


class Places:
    def __init__(self, concurrency: ConcurrencyKeys) -> None:
        self._concurrency = concurrency

    async def run(self) -> None:
        """For ever."""
        while True:
            due: list[str] = []
            try:
                due = await self._concurrency.due(MOST)
                for workflow in due:
                    began = await self._concurrency.look(workflow)
                    if began:
                        log.info("waiting runs began", workflow=workflow, count=began)
            except StoreUnavailable:
                pass
            await asyncio.sleep(SOON if due else LOOK)
