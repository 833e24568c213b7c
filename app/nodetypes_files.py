"""Node type manifests from files on the server: the only source of process commands.

The API stores what the manifests declare (without commands), at its start and whenever it is asked for node types; workers
take the commands from here. Files that come later are found when somebody asks for a type that is not known yet.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import orjson
import structlog
from pydantic import ValidationError

from app.core.nodetypes import NodeType
from app.errors import NotFound
from app.settings import PACKAGED_NODE_TYPES, Settings

log = structlog.get_logger("headrace.node_types")

Install = Callable[[NodeType], Awaitable[bool]]
"""Stores a version of a node type; False where it exists with other content."""


def manifest_directories(settings: Settings) -> list[Path]:
    """The stock manifests, then the directories of HEADRACE_NODE_TYPES."""
    found: list[Path] = []
    package = importlib.util.find_spec(PACKAGED_NODE_TYPES)
    if package is not None and package.submodule_search_locations:
        found.append(Path(next(iter(package.submodule_search_locations))) / "manifests")
    found.extend(Path(part) for part in settings.node_types.split(os.pathsep) if part.strip())
    return found


def _read(path: Path) -> NodeType | None:
    try:
        return NodeType(**orjson.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, ValidationError) as error:
        log.error("node type manifest ignored", path=str(path), error=str(error))
        return None


def _seen(path: Path) -> tuple[int, int]:
    """What changes when a file is written anew."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


def _inside(node_type: NodeType, image: str) -> NodeType:
    """The type with its process command as the command line inside an image that holds the same programs."""
    if node_type.image is not None or not node_type.command:
        return node_type
    line = ["python3" if part == "{python}" else part for part in node_type.command]
    return node_type.model_copy(update={"image": image, "entrypoint": line})


class NodeTypeFiles:
    """The manifests, read at first and again where there are new files.

    Of two files with the same name and version the first counts; the other is an error.
    """

    def __init__(self, directories: list[Path]) -> None:
        self._directories = directories
        self._files: dict[Path, tuple[int, int]] = {}
        self.types: dict[str, NodeType] = {}
        """By "name@version"."""
        self.refresh()

    @classmethod
    def load(cls, settings: Settings) -> NodeTypeFiles:
        """The manifests that the settings name."""
        return cls(manifest_directories(settings))

    def refresh(self) -> None:
        """Read files that are new or were written anew; a stat for each of the others."""
        for directory in self._directories:
            for path in sorted(directory.glob("*.json")):
                seen = _seen(path)
                if self._files.get(path) != seen:
                    self._files[path] = seen
                    self._take(_read(path))

    def _take(self, node_type: NodeType | None) -> None:
        if node_type is None:
            return
        known = self.types.setdefault(node_type.ref, node_type)
        if known != node_type:
            log.error("node type manifest ignored: the same version with other content", ref=node_type.ref)

    def get(self, ref: str) -> NodeType | None:
        """The type "name@version", from a file that came a moment ago too."""
        if ref not in self.types:
            self.refresh()
        return self.types.get(ref)

    def placed(self, image: str) -> Mapping[str, NodeType]:
        """By "name@version", what executors run: a type of ours without an image runs in `image`, where that is given."""
        return Placed(self, image)

    def command(self, ref: str) -> list[str]:
        """The command line of "name@version", `{python}` replaced by this interpreter. Raises NotFound."""
        node_type = self.get(ref)
        if node_type is None or not node_type.command:
            raise NotFound(f"No manifest on this server gives a command for {ref}.")
        return [part.replace("{python}", sys.executable) for part in node_type.command]


class Placed(Mapping[str, NodeType]):
    """The types of the manifests as executors run them."""

    def __init__(self, files: NodeTypeFiles, image: str) -> None:
        self._files = files
        self._image = image

    def __getitem__(self, ref: str) -> NodeType:
        found = self._files.get(ref)
        if found is None:
            raise KeyError(ref)
        return _inside(found, self._image) if self._image else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._files.types)

    def __len__(self) -> int:
        return len(self._files.types)


class Catalogued:
    """Sees to it that what the manifests declare is in the catalog."""

    def __init__(self, files: NodeTypeFiles, install: Install) -> None:
        self._files = files
        self._install = install
        self._done = set[str]()
        self._lock = asyncio.Lock()

    async def bring_in(self) -> None:
        """Store what is not stored yet. Raises StoreUnavailable: then it is tried again the next time."""
        async with self._lock:
            await asyncio.to_thread(self._files.refresh)
            for ref, node_type in list(self._files.types.items()):
                if ref in self._done:
                    continue
                if not await self._install(node_type):
                    text = "node type manifest not taken: the version exists with other content"
                    log.error(text, ref=ref)
                self._done.add(ref)
