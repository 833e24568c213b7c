"""What a node runs where it runs as an image."""

from __future__ import annotations

from app.core.graph import NodeDef
from app.core.nodetypes import NodeType, parse_ref
from app.core.placement import Placement
from app.errors import NotFound
from app.store.store import Store


async def program_of(node: NodeDef, placement: Placement, store: Store) -> tuple[NodeType | None, str]:
    """The type and the image: of the manifest on this server, else of the type that came by the API.

    No type for a node that names its image. Raises NotFound where nothing gives an image.
    """
    kind = None
    if node.type is not None:
        name, version = parse_ref(node.type) or (node.type, None)
        kind = placement.manifests.get(node.type) or await store.node_types.get(name, version)
    image = node.image or (kind.image if kind else None)
    if image is None:
        raise NotFound(f"nothing gives an image for {node.type}")
    return kind, image
