"""List, then watch, for ever: what a watch says is a hint, a list is the truth, and there is one at intervals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from time import monotonic
from typing import Any, cast

import aiohttp
import orjson
import structlog

from app.errors import StoreUnavailable
from workers.executors.kubernetes.client import GONE, JSON, Cluster, ClusterError, Unreachable
from workers.executors.kubernetes.protobuf import MEDIA_TYPE, watched
from workers.executors.rate import Backoff

log = structlog.get_logger("headrace.kubernetes")

RELIST = 300.0
"""Seconds between lists while the watch goes well."""
WATCH_S = 240
"""Seconds after which the API server ends a watch; another follows from where it ended."""
SILENCE = 270.0
"""Seconds without a byte after which a watch is dead: bookmarks come every minute."""
FRUITLESS = 2
"""Watches in a row that end early and say nothing, after which a list is made: what is missed in between is seen by it."""
LONGEST = 10.0
"""Seconds of the longest pause between tries: how late something can be seen while watches do not work at all."""
PAGE = "500"
HEAD = 4
"""Bytes before a frame, which say how long it is."""
LONGEST_FRAME = 1 << 23
"""Bytes; an object is at most a few MB, which etcd sees to."""
KINDS = ("ADDED", "MODIFIED", "DELETED")


class Relist(Exception):
    """The watch cannot go on from here."""


async def events(answer: aiohttp.ClientResponse) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
    """What a watch says, in whichever form the server speaks. Raises Relist, aiohttp.ClientError, TimeoutError."""
    if answer.content_type == MEDIA_TYPE:
        async for frame in frames(answer.content):
            yield event(frame, watched)
        return
    try:
        while line := await answer.content.readline():
            if line.strip():
                yield event(line, orjson.loads)
    except ValueError as error:
        raise Relist("a line too long") from error


async def frames(content: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    """Each is preceded by its length, four bytes. Raises Relist where the stream ends in the midst of one."""
    held = bytearray()
    async for chunk in content.iter_any():
        held += chunk
        at = 0
        while len(held) - at >= HEAD:
            until = at + HEAD + int.from_bytes(held[at : at + HEAD])
            if until - at > LONGEST_FRAME:
                raise Relist("an event too long")
            if len(held) < until:
                break
            yield bytes(held[at + HEAD : until])
            at = until
        del held[:at]
    if held:
        raise Relist("half an event")


def event(written: bytes, decode: Callable[[bytes], object]) -> tuple[str, dict[str, Any]]:
    """(type, object) of an event. Raises Relist for an error, and for what is no event at all."""
    try:
        found: Any = decode(written)
    except ValueError as error:
        raise Relist("half an event") from error
    if not isinstance(found, dict):
        raise Relist("no event")
    told = cast("dict[str, Any]", found)
    kind, thing = told.get("type"), told.get("object")
    if kind not in (*KINDS, "BOOKMARK") or not isinstance(thing, dict):
        raise Relist(str(cast("Any", thing).get("reason", kind)) if isinstance(thing, dict) else "no event")
    return str(kind), cast("dict[str, Any]", thing)


class Watch:
    """The objects of one kind that a selector selects."""

    def __init__(
        self,
        cluster: Cluster,
        url: str,
        selector: Mapping[str, str],
        before: Callable[[], Awaitable[None]],
        listed: Callable[[list[dict[str, Any]]], Awaitable[None]],
        changed: Callable[[str, dict[str, Any]], Awaitable[None]],
    ) -> None:
        """`selector` holds the parameters labelSelector or fieldSelector.

        `before` is called before each list, `listed` with all of it, `changed` with ADDED, MODIFIED or DELETED."""
        self._cluster = cluster
        self._url = url
        self._selector = selector
        self._before = before
        self._listed = listed
        self._changed = changed

    async def run(self) -> None:
        """For ever; whatever goes wrong is waited out and listed anew."""
        backoff = Backoff(longest=LONGEST)
        while True:
            try:
                await self._before()
                things, version = await self._list()
                await self._listed(things)
                await self._follow(version, backoff)
                continue
            except Relist as error:
                log.info("listing anew", reason=str(error))
                wait = backoff.next()
            except StoreUnavailable:
                wait = backoff.next()
            except ClusterError as error:
                log.warning("the cluster cannot be watched", reason=error.message)
                wait = backoff.next(error.wait)
            await asyncio.sleep(wait)

    async def _list(self) -> tuple[list[dict[str, Any]], str]:
        """All of them, page by page, and the version that the watch goes on from. Raises ClusterError, Relist."""
        things: list[dict[str, Any]] = []
        params = {**self._selector, "limit": PAGE}
        while True:
            try:
                page = await self._cluster.call("GET", self._url, params=params)
            except ClusterError as error:
                if error.http_status == GONE:
                    raise Relist("the list was too slow") from error
                raise
            things += page.get("items") or []
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return things, str(metadata.get("resourceVersion") or "")
            params["continue"] = metadata["continue"]

    async def _follow(self, version: str, backoff: Backoff) -> None:
        """Pass on what changes, until it is time to list again. Raises Relist, ClusterError."""
        until, fruitless = monotonic() + RELIST, 0
        while monotonic() < until:
            seconds = max(1, min(WATCH_S, int(until - monotonic())))
            before, count = monotonic(), 0
            try:
                version, count = await self._once(version, seconds)
            except Unreachable as error:  # the connection, not the version: go on from there
                log.info("the watch broke off", reason=error.message)
            if count:
                backoff.reset()
                fruitless = 0
            elif monotonic() - before < seconds / 2:
                fruitless += 1
                if fruitless >= FRUITLESS:
                    raise Relist("watches end without a word")
                await asyncio.sleep(backoff.next())

    async def _once(self, version: str, seconds: int) -> tuple[str, int]:
        """One watch; the version it came to, and how many events it gave."""
        params = {**self._selector, "watch": "1", "allowWatchBookmarks": "true",
                  "resourceVersion": version, "timeoutSeconds": str(seconds)}  # fmt: skip
        count = 0
        try:
            async with self._cluster.stream(
                self._url, params, silence=SILENCE, accept=f"{MEDIA_TYPE},{JSON}"
            ) as answer:
                async for kind, thing in events(answer):
                    if kind != "BOOKMARK":
                        await self._changed(kind, thing)
                    version = str(thing["metadata"].get("resourceVersion") or version)
                    count += 1
        except Unreachable:
            if not count:
                raise
        except ClusterError as error:
            if error.http_status == GONE:
                raise Relist("the version is too old") from error
            raise
        return version, count
