"""Node type manifests from files on the server: the only source of process commands.

The API stores what the manifests declare (without commands) at its start; workers take the commands from
here.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import structlog
from pydantic import ValidationError

from app.core.nodetypes import NodeType
from app.errors import NotFound
from app.settings import PACKAGED_NODE_TYPES, Settings

log = structlog.get_logger("headrace.node_types")


def manifest_directories(settings: Settings) -> list[Path]:
    """The stock manifests, then the directories of HEADRACE_NODE_TYPES."""
    found: list[Path] = []
    package = importlib.util.find_spec(PACKAGED_NODE_TYPES)
    if package is not None and package.submodule_search_locations:
        found.append(Path(next(iter(package.submodule_search_locations))) / "manifests")
    found.extend(Path(part) for part in settings.node_types.split(os.pathsep) if part.strip())
    return found


def _read(directories: list[Path]) -> Iterator[NodeType]:
    for directory in directories:
        for path in sorted(directory.glob("*.json")):
            try:
                yield NodeType(**orjson.loads(path.read_bytes()))
            except (OSError, ValueError, TypeError, ValidationError) as error:
                log.error("node type manifest ignored", path=str(path), error=str(error))


def _inside(node_type: NodeType, image: str) -> NodeType:
    """The type with its process command as the command line inside an image that holds the same programs."""
    if node_type.image is not None or not node_type.command:
        return node_type
    line = ["python3" if part == "{python}" else part for part in node_type.command]
    return node_type.model_copy(update={"image": image, "entrypoint": line})


class NodeTypeFiles:
    """The manifests, read once.

    Of two files with the same name and version the first counts; the other is an error.
    """

    def __init__(self, directories: list[Path]) -> None:
        self.types: dict[str, NodeType] = {}
        """By "name@version"."""
        for node_type in _read(directories):
            ref = f"{node_type.name}@{node_type.version}"
            known = self.types.setdefault(ref, node_type)
            if known != node_type:
                log.error("node type manifest ignored: the same version with other content", ref=ref)

    @classmethod
    def load(cls, settings: Settings) -> NodeTypeFiles:
        """The manifests that the settings name."""
        return cls(manifest_directories(settings))

    def placed(self, image: str) -> dict[str, NodeType]:
        """By "name@version", what executors run: a type of ours without an image runs in `image`, where that is given."""
        if not image:
            return self.types
        return {ref: _inside(node_type, image) for ref, node_type in self.types.items()}

    def command(self, ref: str) -> list[str]:
        """The command line of "name@version", `{python}` replaced by this interpreter. Raises NotFound."""
        node_type = self.types.get(ref)
        if node_type is None or not node_type.command:
            raise NotFound(f"No manifest on this server gives a command for {ref}.")
        return [part.replace("{python}", sys.executable) for part in node_type.command]
