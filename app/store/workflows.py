"""Workflows and every version ever configured (M6).

Versions are immutable; the head of a workflow names the current one.

The same content is the same version: publishing an older version's content again makes that version the
current one.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.core.listening import event_triggers
from app.core.schedules import schedules
from app.errors import NotFound, PreconditionFailed, Unavailable
from app.store.client import Batcher, Script, pairs
from app.store.keys import Keys

_PUBLISH = Script("publish")
_ARCHIVE = Script("archive")
_TRIES = 16


@dataclass(slots=True, frozen=True)
class Head:
    """What a workflow is now. Times are Unix milliseconds; `archived` is None while it is in use,
    `paused` while its runs begin."""

    name: str
    version: int
    last: int
    etag: str
    description: str
    created: int
    updated: int
    archived: int | None
    paused: int | None


@dataclass(slots=True, frozen=True)
class VersionInfo:
    """One version: its number, the digest of its content, when and by which key it was made."""

    version: int
    etag: str
    created: int
    by: str


@dataclass(slots=True, frozen=True)
class Interface:
    """How a version is triggered: the schema of its params (None: anything) and its triggers."""

    name: str
    version: int
    etag: str
    params: dict[str, Any] | None
    triggers: list[dict[str, Any]]


@dataclass(slots=True, frozen=True)
class Publication:
    """The outcome of a publish. `created`: a new version was made."""

    version: int
    etag: str
    created: bool


def etag_of(document: object) -> str:
    """The digest that names a document's content, whatever the order of its members."""
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


class Workflows:
    """Heads, versions, drafts and layouts."""

    def __init__(self, batch: Batcher, keys: Keys) -> None:
        self._batch = batch
        self._keys = keys

    async def publish(
        self, name: str, document: Mapping[str, Any], *, by: str, if_match: str = ""
    ) -> Publication:
        """Make `document` (canonical, pinned) the current version; its nodes keep the order they have in it.

        `if_match`: "" for none, "*" for any, "-" when it must not exist yet, or the etag the caller read.
        Raises PreconditionFailed with the current etag.
        """
        etag, body = await asyncio.to_thread(lambda: (etag_of(document), orjson.dumps(document)))
        now = int(time.time() * 1000)
        triggers: list[dict[str, Any]] = document.get("triggers") or []
        interface = {"params": document.get("params"), "triggers": triggers}
        record = orjson.dumps({"etag": etag, "created": now, "by": by, **interface})
        description = str(document.get("description") or "")
        times = [part for each in schedules(triggers) for part in (each.name, each.times)]
        listens = int(bool(event_triggers(triggers)))
        awaited = {each["run"]["workflow"] for each in triggers if "run" in each}
        for _ in range(_TRIES):
            raw: bytes | None = await self._batch.call("HGET", self._keys.workflow(name), "last")
            last = int(raw or 0)
            keys = [
                self._keys.workflow(name),
                self._keys.workflow_versions(name),
                self._keys.workflow_version(name, last + 1),
                self._keys.workflows,
                self._keys.schedules,
                self._keys.ticks(name),
                self._keys.listening,
                *(self._keys.after(other) for other in sorted(awaited)),
            ]
            args = [name, last, if_match, etag, body, record, now, description, listens, *times]
            reply: list[bytes] = await self._batch.script(_PUBLISH, keys, args)
            if reply[0] == b"unmatched":
                raise PreconditionFailed(etag=reply[1].decode() or None)
            if reply[0] != b"moved":
                return Publication(int(reply[1]), etag, reply[0] == b"created")
        raise Unavailable("Too many publications of this workflow at once; try again.")

    async def head(self, name: str) -> Head:
        """Raises NotFound."""
        found = await self.find(name)
        if found is None:
            raise NotFound(f"There is no workflow {name}.")
        return found

    async def find(self, name: str) -> Head | None:
        """The head of a workflow, or None."""
        fields = ["version", "last", "etag", "description", "created", "updated", "archived", "paused"]
        raw: list[bytes | None] = await self._batch.call("HMGET", self._keys.workflow(name), *fields)
        if raw[0] is None:
            return None
        text = [(value or b"").decode() for value in raw]
        return Head(
            name,
            int(text[0]),
            int(text[1]),
            text[2],
            text[3],
            int(text[4] or 0),
            int(text[5] or 0),
            int(text[6]) if text[6] else None,
            int(text[7]) if text[7] else None,
        )

    async def list(
        self, *, prefix: str = "", archived: bool = False, limit: int = 100, cursor: str = ""
    ) -> tuple[list[Head], str | None]:
        """Workflows by name, after the name `cursor`; those archived only when asked for."""
        start = f"({cursor}" if cursor and cursor >= prefix else (f"[{prefix}" if prefix else "-")
        end = f"[{prefix}\xff" if prefix else "+"
        command = ("ZRANGEBYLEX", self._keys.workflows, start, end, "LIMIT", 0, limit)
        names: list[bytes] = await self._batch.call(*command)
        found = await asyncio.gather(*(self.find(name.decode()) for name in names))
        heads = [head for head in found if head is not None and (archived or head.archived is None)]
        return heads, names[-1].decode() if len(names) == limit else None

    async def document(self, name: str, version: int) -> dict[str, Any]:
        """The canonical document of one version. Raises NotFound."""
        return orjson.loads(await self.document_bytes(name, version))

    async def document_bytes(self, name: str, version: int) -> bytes:
        """The same as stored. Raises NotFound."""
        raw: bytes | None = await self._batch.call("GET", self._keys.workflow_version(name, version))
        if raw is None:
            raise NotFound(f"There is no version {version} of the workflow {name}.")
        return raw

    async def versions(self, name: str) -> list[VersionInfo]:
        """Every version, the newest first. Raises NotFound."""
        flat = await self._batch.call("HGETALL", self._keys.workflow_versions(name))
        if not flat:
            raise NotFound(f"There is no workflow {name}.")
        infos = [(int(version), orjson.loads(record)) for version, record in pairs(flat)]
        return [VersionInfo(v, r["etag"], r["created"], r["by"]) for v, r in sorted(infos, reverse=True)]

    async def interface(self, name: str, version: int) -> Interface:
        """What a trigger must know of a version, without its nodes. Raises NotFound."""
        raw: bytes | None = await self._batch.call("HGET", self._keys.workflow_versions(name), version)
        if raw is None:
            raise NotFound(f"There is no version {version} of the workflow {name}.")
        record: dict[str, Any] = orjson.loads(raw)
        return Interface(name, version, record["etag"], record["params"], record["triggers"])

    async def listening(self, since_ms: int) -> list[tuple[str, int]]:
        """Workflows with event triggers, or that had some, that were published since then, and when (ms)."""
        command = ("ZRANGE", self._keys.listening, since_ms, "+inf", "BYSCORE", "WITHSCORES")
        return [(name.decode(), int(float(ms))) for name, ms in pairs(await self._batch.call(*command))]

    async def event_types(self, name: str) -> list[str]:
        """The patterns of the event triggers of a workflow's current version; none where it is out of use."""
        head = await self.find(name)
        if head is None or head.archived is not None:
            return []
        interface = await self.interface(name, head.version)
        return [each.type for each in event_triggers(interface.triggers)]

    async def waiting_for(self, name: str) -> list[str]:
        """Workflows of which some version has a run trigger on this one."""
        return sorted(raw.decode() for raw in await self._batch.call("SMEMBERS", self._keys.after(name)))

    async def archive(self, name: str) -> None:
        """Take a workflow out of use; its versions and runs stay, and publishing brings it back.

        Raises NotFound.
        """
        await self.head(name)
        keys = self._keys
        names = [keys.workflow(name), keys.schedules, keys.ticks(name), keys.listening]
        await self._batch.script(_ARCHIVE, names, [name, int(time.time() * 1000)])

    async def draft(self, name: str) -> bytes:
        """What the editor saved last, as JSON. Raises NotFound."""
        return await self._text(self._keys.workflow_draft(name), "draft", name)

    async def save_draft(self, name: str, document: bytes) -> None:
        """Save the editor's document, valid or not."""
        await self._batch.call("SET", self._keys.workflow_draft(name), document)

    async def layout(self, name: str) -> bytes:
        """Positions on the canvas, as JSON. Raises NotFound."""
        return await self._text(self._keys.workflow_layout(name), "layout", name)

    async def save_layout(self, name: str, layout: bytes) -> None:
        """Save positions; they are no part of any version."""
        await self._batch.call("SET", self._keys.workflow_layout(name), layout)

    async def _text(self, key: str, what: str, name: str) -> bytes:
        raw: bytes | None = await self._batch.call("GET", key)
        if raw is None:
            raise NotFound(f"There is no {what} of {name}.")
        return raw
