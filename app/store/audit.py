"""What was done by which key. Entries older than KEEP_MS are dropped as new ones come."""

from __future__ import annotations

import time
from typing import Any

from app.store.client import Batcher
from app.store.keys import Keys

KEEP_MS = 90 * 24 * 3600 * 1000


class Audit:
    """The stream `audit`."""

    def __init__(self, batch: Batcher, keys: Keys) -> None:
        self._batch = batch
        self._keys = keys

    async def write(self, *, key: str, action: str, target: str, outcome: str = "done") -> None:
        """`action` is "METHOD route", `target` the path, `outcome` "done", "refused" or "conflict"."""
        oldest = int(time.time() * 1000) - KEEP_MS
        fields = ("key", key, "action", action, "target", target, "outcome", outcome)
        await self._batch.call("XADD", self._keys.audit, "MINID", "~", oldest, "*", *fields)

    async def read(
        self, *, key: str = "", since_ms: int = 0, limit: int = 100, cursor: str = ""
    ) -> dict[str, Any]:
        """A page {items: [{id, at, key, action, target, outcome}], next_cursor}, the newest first."""
        end = f"({cursor}" if cursor else "+"
        command = ("XREVRANGE", self._keys.audit, end, since_ms or "-", "COUNT", limit)
        entries: list[tuple[bytes, Any]] = await self._batch.call(*command)
        items: list[dict[str, Any]] = []
        for entry, raw in entries:
            fields = raw if isinstance(raw, dict) else dict(zip(raw[::2], raw[1::2], strict=True))
            item = {name.decode(): value.decode() for name, value in fields.items()}
            if not key or item.get("key") == key:
                at = int(entry.split(b"-")[0])
                items.append({"id": entry.decode(), "at": at, **item})
        return {"items": items, "next_cursor": entries[-1][0].decode() if len(entries) == limit else None}
