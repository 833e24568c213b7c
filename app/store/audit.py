"""What was done by which key. Entries older than KEEP_MS are dropped as new ones come."""

from __future__ import annotations

import time
from typing import Any

from app.store.client import Batcher
from app.store.keys import Keys

KEEP_MS = 90 * 24 * 3600 * 1000
LOOK = 1_000
MOST_LOOKS = 20
"""How many entries are read at once where only some are wanted, and how often for one page, which may then hold fewer."""


class Audit:
    """The stream `audit`."""

    def __init__(self, batch: Batcher, keys: Keys) -> None:
        self._batch = batch
        self._keys = keys

    async def write(
        self, *, key: str, action: str, target: str, workflow: str | None, outcome: str = "done"
    ) -> None:
        """`action` is "METHOD route", `target` the path, `workflow` the one it is about, None for what belongs to none or where
        it was not found out, `outcome` "done", "refused" or "conflict"."""
        oldest = int(time.time() * 1000) - KEEP_MS
        fields = ("key", key, "action", action, "target", target, "outcome", outcome)
        if workflow is not None:
            fields += ("workflow", workflow)
        await self._batch.call("XADD", self._keys.audit, "MINID", "~", oldest, "*", *fields)

    async def read(
        self,
        *,
        key: str = "",
        since_ms: int = 0,
        limit: int = 100,
        cursor: str = "",
        prefix: str = "",
        reader: str = "",
    ) -> dict[str, Any]:
        """A page {items: [{id, at, key, action, target, outcome, workflow?}], next_cursor}, the newest first.

        With a `prefix` only what concerns a workflow whose name begins with it, and what the key `reader` did.
        """

        def wanted(item: dict[str, Any]) -> bool:
            seen = item["key"] == reader or item.get("workflow", "").startswith(prefix)
            return seen and (not key or item["key"] == key)

        items: list[dict[str, Any]] = []
        at_once = LOOK if key or prefix else limit
        for _ in range(MOST_LOOKS):
            entries = await self._entries(cursor, since_ms, at_once)
            for item in entries:
                cursor = item["id"]
                if wanted(item):
                    items.append(item)
                if len(items) == limit:
                    return {"items": items, "next_cursor": cursor}
            if len(entries) < at_once:
                return {"items": items, "next_cursor": None}
        return {"items": items, "next_cursor": cursor}

    async def _entries(self, before: str, since_ms: int, count: int) -> list[dict[str, Any]]:
        command = (
            "XREVRANGE",
            self._keys.audit,
            f"({before}" if before else "+",
            since_ms or "-",
            "COUNT",
            count,
        )
        found: list[dict[str, Any]] = []
        for entry, raw in await self._batch.call(*command):
            fields = raw if isinstance(raw, dict) else dict(zip(raw[::2], raw[1::2], strict=True))
            item = {name.decode(): value.decode() for name, value in fields.items()}
            found.append({"id": entry.decode(), "at": int(entry.split(b"-")[0]), **item})
        return found
