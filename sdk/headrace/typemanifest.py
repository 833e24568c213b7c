"""The node type manifest: what the catalog, the palette and the forms know of a node type."""

from __future__ import annotations

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
        "command": ["{python}", "-m", _module(cls)],
        "config_schema": _schema(cls.Config, "validation"),
        "metadata_schema": _schema(cls.Metadata, "serialization"),
        "resources": dict(cls.resources),
    }


def _module(cls: type[Node]) -> str:
    """The importable module name, also when it runs as __main__."""
    if cls.__module__ != "__main__":
        return cls.__module__
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec else "__main__"


def _schema(model: Any, mode: str) -> dict[str, Any]:
    """JSON Schema of a pydantic model; an open object where there is none."""
    return {"type": "object"} if model is None else model.model_json_schema(mode=mode)


def _summary(cls: type[Node]) -> str:
    """The first line of the class's own docstring."""
    return ((cls.__dict__.get("__doc__") or "").strip().splitlines() or [""])[0]
