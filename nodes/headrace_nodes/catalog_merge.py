"""catalog-merge: brings the branches of a catalog together again, product by product."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from headrace import Context, Fatal, Node, Results, Stream
from headrace_nodes import upstream
from headrace_nodes.combining import combine
from headrace_nodes.forms import DataMetadata, Form
from headrace_nodes.joining import Joined, Record, Source, join

Sides = list[tuple[str, Record | None]]
"""One product: each branch's name, and what that branch has of it."""


class CatalogMerge(Node):
    """Merges the products of several branches: from each branch the fields that it changed"""

    type = "catalog-merge"
    title = "Merge branches"
    icon = "merge"
    category = "Catalog"

    class Config(Form):
        on: str = Field(
            "id", title="Match by", description="The field that a product has in every branch", min_length=1
        )
        missing: Literal["keep", "drop"] = Field(
            "keep",
            title="Missing in a branch",
            description="What becomes of a product that a branch does not have",
        )
        inputs: list[str] = Field(
            default_factory=list,
            title="Branches",
            description="The nodes that are merged, in the order of their weight; empty: all that have data",
        )
        fields: dict[str, str] = Field(
            default_factory=dict,
            title="Fields from",
            description="Field to node: whose value counts, where what a node changed does not tell",
        )
        prefer: str = Field(
            "",
            title="Prefer",
            description="The node that counts when two differ; empty: such a product fails",
        )

    class Metadata(DataMetadata):
        incomplete: int = Field(title="Products that a branch did not have", ge=0)

    def configure(self, ctx: Context) -> Stream:
        """Every product with what each branch has of it."""
        names = _names(ctx)
        sources = [_source(ctx, name) for name in names]

        def read(skip: int) -> Iterator[Sides]:
            for record in islice(_joined(ctx, sources), skip, None):
                yield list(zip(names, record, strict=True))

        return Stream("merge:" + ",".join(names), None, read)

    def execute(self, ctx: Context, record: Sides) -> Record | None:
        """One product of all branches; nothing when one lacks it and such products are dropped."""
        sides = [(name, side) for name, side in record if side is not None]
        if len(sides) < len(record):
            ctx.state["incomplete"] = ctx.state.get("incomplete", 0) + 1
            if ctx.config.missing == "drop":
                return None
        return combine(sides, ctx.config.fields, ctx.config.prefer)

    def key(self, record: Any) -> str | None:
        """The product that failed: what it is matched by."""
        return super().key(next((side for _, side in record if side is not None), None))

    def output(self, ctx: Context, results: Results) -> Metadata:
        """Where the merged products lie."""
        return self.Metadata(
            uri=results.uri,
            count=results.count,
            failed=results.failed,
            incomplete=results.state.get("incomplete", 0),
        )


def _names(ctx: Context) -> list[str]:
    """The branches. Raises Fatal for one that is no upstream, and when there is none with data."""
    unknown = [name for name in ctx.config.inputs if name not in ctx.inputs]
    if unknown:
        raise Fatal(f"inputs names {unknown[0]!r}, which is not a node before this one")
    found = upstream.names(ctx)
    names = [name for name in ctx.config.inputs if name in found] or found
    if not names:
        raise Fatal("no node before this one has data")
    return names


def _source(ctx: Context, name: str) -> Source:
    def read() -> Iterator[Record]:
        for uri in upstream.uris(ctx, name):
            yield from ctx.open(uri)

    return read


def _joined(ctx: Context, sources: list[Source]) -> Iterator[Joined]:
    try:
        yield from join(sources, ctx.config.on, lambda: _scratch(ctx))
    except KeyError:
        raise Fatal(f"a product without the field {ctx.config.on!r}: it cannot be matched") from None


def _scratch(ctx: Context) -> Path:
    ctx.data_dir.mkdir(parents=True, exist_ok=True)
    return ctx.data_dir / f".join-{secrets.token_hex(6)}"


if __name__ == "__main__":
    CatalogMerge.main()
