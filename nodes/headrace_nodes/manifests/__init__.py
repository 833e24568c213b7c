"""The manifests of the stock node types, one JSON file each, generated from their classes."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

import orjson

from headrace import Node

DIRECTORY: Final = Path(__file__).parent

_CLASSES: Final = {
    "catalog_read": "CatalogRead",
    "catalog_filter": "CatalogFilter",
    "catalog_split": "CatalogSplit",
    "catalog_reprice": "CatalogReprice",
    "image_watermark": "ImageWatermark",
    "catalog_merge": "CatalogMerge",
    "catalog_publish": "CatalogPublish",
    "noop": "Noop",
}


def node_types() -> list[type[Node]]:
    """The classes of all stock node types."""
    return [getattr(import_module(f"headrace_nodes.{module}"), name) for module, name in _CLASSES.items()]


def files() -> dict[str, bytes]:
    """What the directory should hold: file name to content."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return {f"{node.type}.json": orjson.dumps(node.manifest(), option=options) for node in node_types()}


def stale() -> list[str]:
    """The names of files that are missing, unlike their class, or of no class."""
    wanted = files()
    present = {path.name: path.read_bytes() for path in DIRECTORY.glob("*.json")}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def write() -> None:
    """Write all manifests anew, and remove those of no class."""
    wanted = files()
    for path in DIRECTORY.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, content in wanted.items():
        (DIRECTORY / name).write_bytes(content)
