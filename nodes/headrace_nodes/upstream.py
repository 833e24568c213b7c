"""Which data a node reads: its map's item, or what the node before it wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from headrace import Context, Fatal, Stream


def stream(ctx: Context, named: str = "") -> Stream:
    """The products to read: those of the item's URI in a map, else those of the upstream node (see `uri`)."""
    return ctx.open(uri(ctx, named))


def uri(ctx: Context, named: str = "") -> str:
    """The URI of the products to read. Raises Fatal when it is not clear which.

    In a map it is the item's `uri`. Else it is the data of the upstream `named`, or of the only upstream that
    has any. A map before this node counts as all its items' data, one after another, joined without a copy.
    """
    item: object = ctx.item
    if isinstance(item, Mapping):
        own = cast("Mapping[str, Any]", item).get("uri")
        if isinstance(own, str):
            return own
    if item is not None and not named:
        raise Fatal('the item of this map has no "uri": map over the parts of a catalog-split')
    name = named or _only(ctx)
    if name not in ctx.inputs:
        raise Fatal(f'"from" names {name!r}, which is not a node before this one')
    metadata = ctx.inputs[name]
    if _has_uri(metadata):
        return str(metadata["uri"])
    if _is_map(metadata):
        return ctx.join("input", uris(ctx, name)).uri
    raise Fatal(f"the node {name!r} has no data: it was skipped, or its metadata has no uri")


def uris(ctx: Context, name: str) -> Iterator[str]:
    """The URIs of the data of one upstream, in order: one, or those of a map's items that have any."""
    metadata = ctx.inputs[name]
    if _has_uri(metadata):
        yield str(metadata["uri"])
    elif _is_map(metadata):
        for item in ctx.items(name):
            if _has_uri(item):
                yield str(item["uri"])


def names(ctx: Context) -> list[str]:
    """The upstream nodes that have data, in the order of the workflow."""
    return [name for name in ctx.inputs if _has_uri(ctx.inputs[name]) or _is_map(ctx.inputs[name])]


def _only(ctx: Context) -> str:
    found = names(ctx)
    if len(found) == 1:
        return found[0]
    if found:
        raise Fatal(f'several nodes before this one have data ({", ".join(found)}): name one in "from"')
    raise Fatal("no node before this one has data (metadata with a uri)")


def _has_uri(metadata: object) -> bool:
    return isinstance(metadata, Mapping) and isinstance(cast("Mapping[str, Any]", metadata).get("uri"), str)


def _is_map(metadata: object) -> bool:
    return (
        isinstance(metadata, Mapping) and {"items", "succeeded"} <= cast("Mapping[str, Any]", metadata).keys()
    )
