"""The catalog of node types (M20).

A stored version never changes; a workflow version pins the versions it uses.

A process command is never stored: it comes only from files on the server (app/nodetypes_files.py), so whoever
can write to Redis or to the API cannot choose what runs on a worker.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from app.core.nodetypes import NodeType
from app.errors import NotFound, Unavailable
from app.store.client import Batcher, Script, pairs
from app.store.keys import Keys

_PUT = Script("node_type_put")
_TRIES = 16


def _encode(node_type: NodeType) -> bytes:
    return orjson.dumps(node_type.model_dump(mode="json", exclude={"command"}), option=orjson.OPT_SORT_KEYS)


class NodeTypes:
    """Node types by name and version."""

    def __init__(self, batch: Batcher, keys: Keys) -> None:
        self._batch = batch
        self._keys = keys

    async def put(self, fields: dict[str, Any]) -> tuple[NodeType, bool]:
        """Store a node type (`fields` without version) as the newest version: it, and whether that version is
        new.

        The same content as the newest version is that version. Raises pydantic's ValidationError for bad
        fields.
        """
        name = str(fields["name"])
        for _ in range(_TRIES):
            newest = await self._newest(name)
            if newest:
                current = await self.get(name, newest)
                if _encode(NodeType(**fields, version=newest)) == _encode(current):
                    return current, False
            node_type = NodeType(**fields, version=newest + 1)
            reply = await self._script(node_type, str(newest))
            if reply[0] == b"created":
                return node_type, True
        raise Unavailable("Too many changes of this node type at once; try again.")

    async def install(self, node_type: NodeType) -> bool:
        """Store a given version of a manifest.

        False: that version exists with other content, and was left as it is.
        """
        reply = await self._script(node_type, "")
        return reply[0] == b"created" or reply[1] == _encode(node_type)

    async def _script(self, node_type: NodeType, newest: str) -> list[bytes]:
        keys = [self._keys.node_type(node_type.name), self._keys.node_types]
        args = [node_type.name, node_type.version, _encode(node_type), newest]
        return await self._batch.script(_PUT, keys, args)

    async def _newest(self, name: str) -> int:
        raw: bytes | None = await self._batch.call("HGET", self._keys.node_types, name)
        return int(raw or 0)

    async def get(self, name: str, version: int | None = None) -> NodeType:
        """One version, by default the newest. Raises NotFound."""
        wanted = await self._newest(name) if version is None else version
        raw: bytes | None = None
        if wanted:
            raw = await self._batch.call("HGET", self._keys.node_type(name), wanted)
        if raw is None:
            raise NotFound(f"There is no node type {name}" + (f"@{version}." if version else "."))
        return _decode(raw)

    async def versions(self, name: str) -> list[NodeType]:
        """Every version, the newest first. Raises NotFound."""
        flat = await self._batch.call("HGETALL", self._keys.node_type(name))
        if not flat:
            raise NotFound(f"There is no node type {name}.")
        return sorted((_decode(raw) for _, raw in pairs(flat)), key=lambda each: each.version, reverse=True)

    async def newest(self) -> list[NodeType]:
        """The newest version of each, by name."""
        flat = await self._batch.call("HGETALL", self._keys.node_types)
        found = await asyncio.gather(
            *(self.get(name.decode(), int(version)) for name, version in pairs(flat))
        )
        return sorted(found, key=lambda each: each.name)

    async def catalog(self) -> dict[str, NodeType]:
        """Every version by "name@version", and the newest ones by "name": what documents may refer to."""
        found: dict[str, NodeType] = {}
        newest = pairs(await self._batch.call("HGETALL", self._keys.node_types))
        for versions in await asyncio.gather(*(self.versions(name.decode()) for name, _ in newest)):
            found |= {f"{each.name}@{each.version}": each for each in versions}
            found[versions[0].name] = versions[0]
        return found


def _decode(raw: bytes) -> NodeType:
    # Not validated again: without its command a process type is not one that could be declared.
    return NodeType.model_construct(**orjson.loads(raw))
