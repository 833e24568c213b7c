"""Schedules as CronJobs of a cluster: reconciled with the published versions, drift is mended, what is gone is removed.

A change is brought in when it is noticed by whoever notices it; a sweep of one worker compares everything. Both only ever bring
the cluster to what the store says, so it does not matter who does, or that two do.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import structlog

from app.core.podspec import PodSpec
from app.core.tokens import NEVER_MS, TICK, TokenClaims, sign
from app.errors import HeadraceError, StoreUnavailable, UsageError
from app.settings import Settings
from app.store.store import Store
from workers.executors.kubernetes.client import JOBS, MISSING, Cluster, ClusterError
from workers.executors.kubernetes.cronjob import KIND, Ticks, covers, cronjob, selector

log = structlog.get_logger("headrace.cronjobs")

PAGE = 200
AT_ONCE = 8
APPLY = "application/apply-patch+yaml"
MANAGER = "headrace"


class CronJobs:
    """Opens its connection when it is first used. Raises UsageError for settings that make no sense."""

    def __init__(self, store: Store, settings: Settings) -> None:
        image = settings.tick_image or settings.nodes_image
        if not image:
            raise UsageError(
                "CronJobs need an image with Python: HEADRACE_TICK_IMAGE, or HEADRACE_NODES_IMAGE"
            )
        pod = PodSpec.model_validate_json(settings.kubernetes_pod or "{}")
        self._ticks = Ticks(settings.prefix, settings.kubernetes_namespace, image, pod)
        self._store = store
        self._settings = settings
        self._opened: Cluster | None = None

    async def changed(self, workflow: str) -> None:
        """Bring the CronJobs of one workflow's schedules in; those that are gone are left to the sweep."""
        try:
            for wanted in await self._wanted(workflow):
                await self._apply(wanted)
        except StoreUnavailable:
            raise
        except HeadraceError as error:
            log.warning("CronJobs of a workflow wait for the sweep", workflow=workflow, reason=error.message)

    async def sweep(self) -> dict[str, int]:
        """Compare everything: {applied, removed}. Raises StoreUnavailable."""
        done = {"applied": 0, "removed": 0}
        try:
            actual = await self._list()
            desired = {each["metadata"]["name"]: each for each in await self._all_wanted()}
            differing = [each for name, each in desired.items() if not covers(actual.get(name), each)]
            await self._in_parts([self._apply(each) for each in differing])
            gone = [name for name in actual if name not in desired]
            await self._in_parts([self._delete(name) for name in gone])
            done = {"applied": len(differing), "removed": len(gone)}
        except StoreUnavailable:
            raise
        except HeadraceError as error:
            log.warning("CronJobs could not be compared", reason=error.message)
        if any(done.values()):
            log.info("CronJobs reconciled", **done)
        return done

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def _cluster(self) -> Cluster:
        if self._opened is None:
            self._opened = await Cluster.open(self._settings)
        return self._opened

    async def _in_parts(self, calls: list[Any]) -> None:
        for at in range(0, len(calls), AT_ONCE):
            await asyncio.gather(*calls[at : at + AT_ONCE])

    async def _all_wanted(self) -> list[dict[str, Any]]:
        names = await self._store.schedules.workflows()
        return [each for name in names for each in await self._wanted(name)]

    async def _wanted(self, workflow: str) -> list[dict[str, Any]]:
        """The CronJobs of a workflow's current version."""
        current = await self._store.schedules.current(workflow)
        if current is None:
            return []
        found, paused = current
        return [
            cronjob(self._ticks, workflow, each, self._url(workflow, each.name), paused=paused)
            for each in found
        ]

    def _url(self, workflow: str, schedule: str) -> str:
        token = sign(self._store.secret, TokenClaims("", schedule, 0, workflow, 0, NEVER_MS), TICK)
        return f"{self._settings.api_url}/api/v1/ticks/{quote(token, safe='')}"

    async def _list(self) -> dict[str, dict[str, Any]]:
        cluster, found, following = await self._cluster(), dict[str, dict[str, Any]](), ""
        labels = ",".join(f"{name}={value}" for name, value in selector(self._ticks.instance).items())
        while True:
            params = {
                "labelSelector": labels,
                "limit": str(PAGE),
                **({"continue": following} if following else {}),
            }
            page = await cluster.call("GET", cluster.url(JOBS, KIND), params=params)
            # what is listed does not say its kind
            same = {"apiVersion": JOBS, "kind": "CronJob"}
            found |= {each["metadata"]["name"]: {**each, **same} for each in page["items"]}
            following = page["metadata"].get("continue") or ""
            if not following:
                return found

    async def _apply(self, wanted: dict[str, Any]) -> None:
        """Make it, or bring its fields back to what they must be, whoever changed them."""
        cluster = await self._cluster()
        url = cluster.url(JOBS, KIND, wanted["metadata"]["name"])
        params = {"fieldManager": MANAGER, "force": "true"}
        await cluster.call("PATCH", url, wanted, params=params, content_type=APPLY)

    async def _delete(self, name: str) -> None:
        cluster = await self._cluster()
        try:
            options = {"propagationPolicy": "Background"}
            await cluster.call("DELETE", cluster.url(JOBS, KIND, name), options)
        except ClusterError as error:
            if error.http_status != MISSING:
                raise
