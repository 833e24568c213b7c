"""API keys. The store holds their hashes; the key itself is shown once, when it is made."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from app.core.round import iso
from app.errors import NotFound, UsageError
from app.store.client import Batcher, pairs
from app.store.keys import Keys

_KEY = re.compile(r"hr_([A-Za-z0-9]{1,32})_([A-Za-z0-9_-]{16,128})")
BOOTSTRAP = "bootstrap"
"""The name of the key that HEADRACE_BOOTSTRAP_KEY installs."""


@dataclass(slots=True, frozen=True)
class ApiKey:
    """A stored key. `hash`: sha256 hex of the whole key; `prefix`: workflows it may touch begin with it."""

    id: str
    hash: str
    scopes: tuple[str, ...]
    prefix: str
    name: str
    created: int
    """Unix milliseconds."""

    def public(self) -> dict[str, Any]:
        """What may be shown: everything but the hash."""
        return {
            "id": self.id,
            "name": self.name,
            "scopes": list(self.scopes),
            "prefix": self.prefix,
            "created": iso(self.created),
        }


class ParsedKey(NamedTuple):
    """A key as a caller gives it: its id and the hash to compare."""

    id: str
    hash: str


def parse_key(text: str) -> ParsedKey | None:
    """Split `hr_<id>_<secret>`; None when it does not look like a key."""
    match = _KEY.fullmatch(text)
    if match is None:
        return None
    return ParsedKey(match[1], hashlib.sha256(text.encode()).hexdigest())


class ApiKeys:
    """The hash `keys`: id -> record."""

    def __init__(self, batch: Batcher, keys: Keys) -> None:
        self._batch = batch
        self._keys = keys

    async def get(self, key_id: str) -> ApiKey | None:
        """One key, or None."""
        raw: bytes | None = await self._batch.call("HGET", self._keys.api_keys, key_id)
        return None if raw is None else _decode(key_id, raw)

    async def list(self) -> list[ApiKey]:
        """Every key, oldest first."""
        flat: Sequence[bytes] = await self._batch.call("HGETALL", self._keys.api_keys)
        keys = [_decode(key.decode(), raw) for key, raw in pairs(flat)]
        return sorted(keys, key=lambda key: (key.created, key.id))

    async def create(self, scopes: Sequence[str], prefix: str = "", name: str = "") -> tuple[ApiKey, str]:
        """A new key: its record, and the key itself, which is not kept."""
        text = f"hr_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"
        return await self._store(text, scopes, prefix, name), text

    async def install(self, text: str) -> ApiKey:
        """Store a given admin key; the same one again changes nothing.

        Raises UsageError when it is not a key.
        """
        parsed = parse_key(text)
        if parsed is None:
            raise UsageError(
                "HEADRACE_BOOTSTRAP_KEY must look like hr_<id>_<secret>, the secret of 16 characters or more."
            )
        existing = await self.get(parsed.id)
        if existing is not None and existing.hash == parsed.hash:
            return existing
        return await self._store(text, ["admin"], "", BOOTSTRAP)

    async def _store(self, text: str, scopes: Sequence[str], prefix: str, name: str) -> ApiKey:
        parsed = parse_key(text)
        if parsed is None:
            raise UsageError("This is not a key.")
        key = ApiKey(parsed.id, parsed.hash, tuple(scopes), prefix, name, int(time.time() * 1000))
        record = key.public() | {"hash": key.hash, "created": key.created}
        await self._batch.call("HSET", self._keys.api_keys, key.id, orjson.dumps(record))
        return key

    async def delete(self, key_id: str) -> None:
        """Raises NotFound."""
        if not await self._batch.call("HDEL", self._keys.api_keys, key_id):
            raise NotFound("There is no such key.")


def _decode(key_id: str, raw: bytes) -> ApiKey:
    record: dict[str, Any] = orjson.loads(raw)
    return ApiKey(
        key_id,
        record["hash"],
        tuple(record["scopes"]),
        record.get("prefix", ""),
        record.get("name", ""),
        record.get("created", 0),
    )
