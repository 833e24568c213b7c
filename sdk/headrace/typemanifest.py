"""The node type manifest: what the catalog, the palette and the forms know of a node type."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.node import Node


def describe(cls: type[Node]) -> dict[str, Any]:
    """Build the manifest of a Node class. Raises TypeError where the class has no `type`."""
    if not cls.type:
        raise TypeError(f"{cls.__name__}.type is not set: a node type needs a name such as 'catalog-reprice'")
    return {
        "name": cls.type,
        "version": cls.version,
        "title": cls.title or cls.type.replace("-", " ").capitalize(),
        "icon": cls.icon,
        "category": cls.category,
        "description": cls.description or _summary(cls),
        "command": _command(cls),
        "config_schema": _schema(cls.Config, "validation"),
        "metadata_schema": _schema(cls.Metadata, "serialization"),
        "resources": dict(cls.resources),
    }


def _command(cls: type[Node]) -> list[str]:
    """Its module, by the importable name also when it runs as __main__; a script by its file."""
    if cls.__module__ != "__main__":
        return ["{python}", "-m", cls.__module__]
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return ["{python}", "-m", spec.name.removesuffix(".__main__")]
    return ["{python}", os.path.abspath(getattr(main, "__file__", sys.argv[0]))]


def _schema(model: Any, mode: str) -> dict[str, Any]:
    """JSON Schema of a pydantic model; an open object where there is none."""
    return {"type": "object"} if model is None else model.model_json_schema(mode=mode)


def _summary(cls: type[Node]) -> str:
    """The first line of the class's own docstring."""
    return ((cls.__dict__.get("__doc__") or "").strip().splitlines() or [""])[0]
