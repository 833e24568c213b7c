"""What a node runs where it runs as an image."""

from __future__ import annotations

from typing import NamedTuple

from app.core.graph import NodeDef
from app.core.nodetypes import parse_ref
from app.core.placement import Placement
from app.core.podspec import PodSpec, Resources
from app.errors import NotFound
from app.store.store import Store


class Program(NamedTuple):
    """An image, and what its node type says of running it; nothing for a node that names its image itself."""

    image: str
    entrypoint: tuple[str, ...]
    """The command line inside the image; empty: the image's own."""
    resources: Resources
    pod: PodSpec


async def program_of(node: NodeDef, placement: Placement, store: Store) -> Program:
    """Of the manifest on this server, else of the type that came by the API. Raises NotFound where nothing gives an image."""
    kind = None
    if node.type is not None:
        name, version = parse_ref(node.type) or (node.type, None)
        kind = placement.manifests.get(node.type) or await store.node_types.get(name, version)
    image = node.image or (kind.image if kind else None)
    if image is None:
        raise NotFound(f"nothing gives an image for {node.type}")
    if kind is None:
        return Program(image, (), Resources(), PodSpec())
    return Program(
        image, tuple(kind.entrypoint or ()), Resources(**kind.resources), PodSpec(**kind.kubernetes)
    )
