"""Compiled graphs of workflow versions. A version never changes, so a process compiles each once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import orjson

from app.core.graph import Graph, compile_graph
from app.errors import NotFound
from app.store.client import Batcher
from app.store.keys import Keys

MAX_NODES = 400_000
"""Nodes that the cache holds over all graphs; the least recently used go first."""
IN_PLACE = 64 * 1024
"""Bytes of a document up to which compiling does not leave the event loop."""


class Graphs:
    def __init__(self, batcher: Batcher, keys: Keys) -> None:
        self._batcher = batcher
        self._keys = keys
        self._cache: OrderedDict[tuple[str, int], Graph] = OrderedDict()
        self._loading: dict[tuple[str, int], asyncio.Future[Graph]] = {}

    async def get(self, workflow: str, version: int) -> Graph:
        """Raises NotFound where there is no such version."""
        key = (workflow, version)
        graph = self._cache.get(key)
        if graph is not None:
            self._cache.move_to_end(key)
            return graph
        loading = self._loading.get(key)
        if loading is None:
            loading = self._loading[key] = asyncio.ensure_future(self._load(workflow, version))
            loading.add_done_callback(lambda _: self._loading.pop(key, None))
        return await asyncio.shield(loading)

    async def _load(self, workflow: str, version: int) -> Graph:
        raw = await self._batcher.call("GET", self._keys.workflow_version(workflow, version))
        if raw is None:
            raise NotFound(f"There is no version {version} of workflow '{workflow}'.")
        if len(raw) <= IN_PLACE:
            graph = _compile(raw, workflow, version)
        else:
            graph = await asyncio.to_thread(_compile, raw, workflow, version)
        self._cache[(workflow, version)] = graph
        while len(self._cache) > 1 and sum(len(g.nodes) for g in self._cache.values()) > MAX_NODES:
            self._cache.popitem(last=False)
        return graph


def _compile(raw: bytes, workflow: str, version: int) -> Graph:
    return compile_graph(orjson.loads(raw), version=version)
