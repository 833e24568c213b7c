"""catalog-split: cuts a catalog into parts for a map, without copying any of it."""

from __future__ import annotations

from typing import Final

import orjson
from pydantic import BaseModel, Field

from headrace import Context, Fatal, Node, Results
from headrace_nodes import upstream
from headrace_nodes.forms import FromUpstream

MOST: Final = 60 * 1024
"""Bytes of metadata that the list of parts may take: the engine's soft limit is 64 KiB."""


class Part(BaseModel):
    """One part: an item of the map that goes over them."""

    index: int = Field(title="Number of the part", ge=0)
    uri: str = Field(title="Data", description="URI of the part's products: a range of the catalog's records")
    count: int = Field(title="Products in the part", ge=0)


class CatalogSplit(Node):
    """Cuts the products into parts that a map works on side by side"""

    type = "catalog-split"
    title = "Split into parts"
    icon = "split"
    category = "Catalog"

    class Config(FromUpstream):
        size: int = Field(500, title="Products per part", ge=1, le=10_000_000)
        parts: int = Field(
            0,
            title="Number of parts",
            description="Instead of the size of a part; 0 goes by size",
            ge=0,
            le=100_000,
        )

    class Metadata(BaseModel):
        parts: list[Part] = Field(title="Parts", description="What a map goes over")
        count: int = Field(title="Products in all parts", ge=0)

    def configure(self, ctx: Context) -> list[object]:
        """Nothing to read: cutting is arithmetic."""
        return []

    def output(self, ctx: Context, results: Results) -> Metadata:
        """The parts. Raises Fatal when their list is longer than metadata may be."""
        whole = upstream.uri(ctx, ctx.config.source)
        total = ctx.open(whole).total
        if total is None:
            total = sum(1 for _ in ctx.open(whole).read())
        size = -(-total // ctx.config.parts) if ctx.config.parts else ctx.config.size
        cuts = ctx.split(whole, max(size, 1), total)
        parts = [
            Part(index=index, uri=uri, count=min(size, total - index * size))
            for index, uri in enumerate(cuts)
        ]
        metadata = self.Metadata(parts=parts, count=total)
        _check(metadata, total)
        return metadata


def _check(metadata: CatalogSplit.Metadata, total: int) -> None:
    length = len(orjson.dumps(metadata.model_dump()))
    if length <= MOST:
        return
    fitting = max(1, len(metadata.parts) * MOST // length)
    raise Fatal(
        f"{len(metadata.parts)} parts make {length} bytes of metadata, {MOST} fit: "
        f"raise size to {-(-total // fitting)} or more (about {fitting} parts)"
    )


if __name__ == "__main__":
    CatalogSplit.main()
