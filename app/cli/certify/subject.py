"""What is certified, a file, a manifest or an image, and the sample that it is run on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.core.nodetypes import NodeType
from app.errors import UsageError

GIVEN = NodeType(name="certify-given", command=["true"], title="Metadata of the sample")
"""The type of the nodes before the one that is certified."""
IMAGE_NODE = "node"


@dataclass(frozen=True, slots=True)
class Sample:
    """What the node is run on; `directory` is where its file: URIs are looked up."""

    directory: Path
    config: Mapping[str, Any]
    inputs: Mapping[str, Any]
    """Metadata of the nodes before it, by name."""
    item: Any = None
    """None: it is no item of a map."""
    tolerate: float = 0.0


def sample_of(document: Mapping[str, Any], directory: Path) -> Sample:
    """From the document that `headrace node test` reads too. Raises UsageError for members of another kind."""
    for name in ("config", "inputs"):
        if not isinstance(document.get(name) or {}, dict):
            raise UsageError(f"the sample's {name!r} must be an object, with a member for each field")
    tolerate = document.get("tolerate", 0)
    if isinstance(tolerate, bool) or not isinstance(tolerate, int | float):
        raise UsageError("the sample's 'tolerate' must be a number between 0 and 1")
    return Sample(
        directory.resolve(), document.get("config") or {}, document.get("inputs") or {}, document.get("item"),
        float(tolerate),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """A node as one can be started."""

    type: NodeType | None
    """Its manifest; None: it is an image without one."""
    image: str | None
    """What runs in a container; None: a local process."""
    command: list[str]
    """Of the process, or inside the image where it is not the image's own."""
    paced: bool
    """Whether the command takes `--every N`."""
    sample: Sample

    @property
    def name(self) -> str:
        """For people: its type, or the image."""
        return self.type.name if self.type is not None else self.image or ""

    @property
    def node(self) -> str:
        """What the node is called in its workflow; no node before it has that name."""
        name = self.type.name.replace("-", "_") if self.type is not None else IMAGE_NODE
        while name in self.sample.inputs:
            name += "_"
        return name

    @property
    def ref(self) -> str:
        """The node run that is certified."""
        return self.node if self.sample.item is None else f"{self.node}:0"

    def workflow(self, name: str) -> dict[str, Any]:
        """The document of one run: the node, and before it those whose metadata the sample gives."""
        sample = self.sample
        node: dict[str, Any] = {"config": dict(sample.config), "needs": list(sample.inputs), "tolerate": sample.tolerate,
                                "retry": {"max_attempts": 1}, "timeout": {"start": "1d", "run": "1d"}}  # fmt: skip
        node |= {"type": self.type.name} if self.type is not None else {"image": self.image}
        if sample.item is not None:
            node["map"] = {"over": [sample.item]}
        before = {each: {"type": GIVEN.name} for each in sample.inputs}
        return {"name": name, "nodes": {**before, self.node: node}}


def manifest_of(document: Mapping[str, Any], source: str) -> NodeType:
    """A node type from a manifest. Raises UsageError that names the members that are wrong."""
    try:
        return NodeType(**document)
    except (ValidationError, TypeError) as error:
        wrong = error.errors() if isinstance(error, ValidationError) else []
        told = "; ".join(f"{'/'.join(map(str, each['loc']))}: {each['msg']}" for each in wrong)
        raise UsageError(
            f"{source} is no manifest of a node type: {told or 'its members are not known'}"
        ) from error
