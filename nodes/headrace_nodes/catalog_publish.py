"""catalog-publish: writes the feed file that a channel takes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, cast
from urllib.parse import quote, unquote, urlsplit

import orjson
from pydantic import BaseModel, Field

from headrace import Context, Node, Results, Stream
from headrace_nodes import upstream
from headrace_nodes.formats import merchant, shopify_export
from headrace_nodes.forms import FromUpstream
from headrace_nodes.products import CHANGED, Product

_EXTENSION: Final = {"ndjson": "ndjson", "google-merchant-tsv": "tsv", "shopify-csv": "csv"}
_HEADER: Final[dict[str, Callable[[], str]]] = {
    "ndjson": lambda: "",
    "google-merchant-tsv": merchant.header,
    "shopify-csv": shopify_export.header,
}


class CatalogPublish(Node):
    """Writes the products as one feed file: NDJSON, Google Merchant Center or Shopify"""

    type = "catalog-publish"
    title = "Publish feed"
    icon = "upload"
    category = "Channels"

    class Config(FromUpstream):
        format: Literal["ndjson", "google-merchant-tsv", "shopify-csv"] = Field("ndjson", title="Format")
        name: str = Field(
            "feed",
            title="File name",
            description="Without its extension",
            pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$",
        )
        link_base: str = Field(
            "",
            title="Base of product links",
            description="For products without a link: what stands before their handle or id",
        )
        image_base: str = Field(
            "",
            title="Base of image links",
            description="Where the data directory is served: replaces file: in the pictures' links",
        )

    class Metadata(BaseModel):
        uri: str = Field(title="Feed file")
        count: int = Field(title="Products in the feed", ge=0)
        failed: int = Field(title="Products that the format refused", ge=0)
        sha256: str = Field(title="SHA-256 of the file")
        bytes: int = Field(title="Size in bytes", ge=0)
        format: str = Field(title="Format")

    def configure(self, ctx: Context) -> Stream:
        """The upstream's products."""
        return upstream.stream(ctx, ctx.config.source)

    def execute(self, ctx: Context, record: Product) -> dict[str, str]:
        """The product's lines in the feed; one that the channel would refuse fails."""
        return {"lines": written(record, ctx)}

    def output(self, ctx: Context, results: Results) -> Metadata:
        """The file, written whole or not at all, under a name that no attempt is part of."""
        form = ctx.config.format
        feed = _Feed(_blocks(results, _HEADER[form]()))
        uri = ctx.write_file(f"published/{ctx.config.name}.{_EXTENSION[form]}", cast("BinaryIO", feed))
        return self.Metadata(
            uri=uri,
            count=results.count,
            failed=results.failed,
            sha256=feed.digest.hexdigest(),
            bytes=feed.size,
            format=form,
        )


def written(product: Product, ctx: Context) -> str:
    """One product as text of the configured format."""
    config = ctx.config
    images = [_public(uri, ctx) for uri in product.get("image_watermarked") or product["images"]]
    if config.format == "ndjson":
        return (
            orjson.dumps({name: value for name, value in product.items() if name != CHANGED}).decode() + "\n"
        )
    if config.format == "shopify-csv":
        return shopify_export.block(product, images)
    link = product.get("link") or ""
    if not link and config.link_base:
        link = config.link_base + quote(str(product.get("handle") or product["id"]))
    return merchant.block(product, images, link)


def _public(uri: str, ctx: Context) -> str:
    """The link of a picture: a file of ours as the configured base and its path below the data directory."""
    if not ctx.config.image_base or not uri.startswith("file:"):
        return uri
    path = Path(unquote(urlsplit(uri).path))
    root = next((parent.parent for parent in ctx.data_dir.parents if parent.name == ctx.run_id), ctx.data_dir)
    tail = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return ctx.config.image_base.rstrip("/") + "/" + quote(str(tail))


def _blocks(results: Results, header: str) -> Iterator[bytes]:
    yield header.encode()
    for record in results:
        yield record["lines"].encode()


class _Feed(io.RawIOBase):
    """The feed as a file to read: its blocks one after another, counted and hashed on the way."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        super().__init__()
        self._blocks = blocks
        self._rest = bytearray()
        self.digest: Any = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        for block in self._blocks:
            self._rest += block
            if 0 <= size <= len(self._rest):
                break
        end = len(self._rest) if size < 0 else size
        piece = bytes(self._rest[:end])
        del self._rest[:end]
        self.digest.update(piece)
        self.size += len(piece)
        return piece


if __name__ == "__main__":
    CatalogPublish.main()
