"""One of all workers does what needs to be done once: who holds the Lease of the Jobs' namespace.

Two that believe to hold it, for a moment, do no harm: what they tell the engine are facts that count once. So nothing waits
for a fence, and a holder that dies is followed as soon as its Lease has not been renewed for DURATION.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import structlog

from workers.executors.kubernetes.client import CONFLICT, LEASES, Cluster, ClusterError, cancelled_quietly

log = structlog.get_logger("headrace.kubernetes")

DURATION = 10
"""Seconds without a renewal after which another may take the Lease over."""
RENEWAL = DURATION / 4
PATIENCE = DURATION * 0.8
"""Seconds without a successful renewal after which the holder stops by itself."""
LOOK = 2.0
"""Seconds between looks of those that do not hold it."""


class Leadership:
    def __init__(self, cluster: Cluster, name: str, holder: str) -> None:
        self._cluster = cluster
        self._name = name
        self._holder = holder
        self._lease: dict[str, Any] = {}
        """As we last saw or wrote it."""
        self._seen: tuple[Any, ...] = ()
        self._seen_at = 0.0
        self.held = False

    async def lead(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """For ever: wait until the Lease is ours, then do `work` for as long as it is. Raises what `work` raises."""
        while True:
            await self._acquire()
            self.held = True
            log.info("this worker watches the cluster", lease=self._name)
            working, keeping = asyncio.create_task(work()), asyncio.create_task(self._keep())
            try:
                await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
                if working.done():
                    working.result()
            finally:
                await cancelled_quietly(working, keeping)
                self.held = False
            log.warning("another worker watches the cluster now", lease=self._name)

    async def release(self) -> None:
        """Let another one take it at once. Never raises: a Lease that is not released runs out."""
        if not self._lease or self._holder_of(self._lease) != self._holder:
            return
        try:
            await self._write(holder="")
        except ClusterError as error:
            log.info("the lease runs out by itself", reason=error.message)

    # taking -----------------------------------------------------------------------------------------------------

    async def _acquire(self) -> None:
        while True:
            try:
                if await self._try():
                    return
            except ClusterError as error:
                log.warning("the lease cannot be had", lease=self._name, reason=error.message)
            await asyncio.sleep(LOOK * random.uniform(0.8, 1.2))  # noqa: S311  (spreads looks, guards nothing)

    async def _try(self) -> bool:
        """Raises ClusterError."""
        try:
            self._lease = await self._cluster.call("GET", self._url(self._name))
        except ClusterError as error:
            if error.http_status != 404:
                raise
            return await self._create()
        if not self._free(self._lease):
            return False
        return await self._written()

    async def _create(self) -> bool:
        body = {
            "apiVersion": LEASES,
            "kind": "Lease",
            "metadata": {"name": self._name},
            "spec": self._spec(0),
        }
        try:
            self._lease = await self._cluster.call("POST", self._url(), body)
        except ClusterError as error:
            if error.http_status == CONFLICT:
                return False
            raise
        return True

    def _free(self, lease: dict[str, Any]) -> bool:
        """Whether nobody has it: never had, given back, or not renewed for long, by our clock."""
        spec = lease.get("spec") or {}
        holder = self._holder_of(lease)
        if holder in ("", self._holder):
            return True
        seen = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, monotonic()
            return False
        return monotonic() - self._seen_at > (spec.get("leaseDurationSeconds") or DURATION)

    async def _written(self) -> bool:
        """Whether it is ours now; not where another one was quicker. Raises ClusterError."""
        try:
            await self._write(holder=self._holder)
        except ClusterError as error:
            if error.http_status == CONFLICT:
                return False
            raise
        return True

    # keeping ----------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Renew it; returns when it is ours no more."""
        renewed = monotonic()
        while True:
            await asyncio.sleep(RENEWAL)
            try:
                if not await self._written():
                    self._lease = await self._cluster.call("GET", self._url(self._name))
                    if self._holder_of(self._lease) != self._holder:
                        return
                    continue
                renewed = monotonic()
            except ClusterError as error:
                log.warning("the lease cannot be renewed", lease=self._name, reason=error.message)
                if monotonic() - renewed > PATIENCE:
                    return

    async def _write(self, holder: str) -> None:
        """Raises ClusterError; CONFLICT where it has changed since we saw it."""
        spec = self._lease.get("spec") or {}
        changes = int(spec.get("leaseTransitions") or 0) + (self._holder_of(self._lease) != holder)
        body = {**self._lease, "spec": {**self._spec(changes), "holderIdentity": holder}}
        self._lease = await self._cluster.call("PUT", self._url(self._name), body)

    def _spec(self, transitions: int) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {"holderIdentity": self._holder, "leaseDurationSeconds": DURATION, "acquireTime": now,
                "renewTime": now, "leaseTransitions": transitions}  # fmt: skip

    def _holder_of(self, lease: dict[str, Any]) -> str:
        return str((lease.get("spec") or {}).get("holderIdentity") or "")

    def _url(self, name: str = "") -> str:
        return self._cluster.url(LEASES, "leases", name)
