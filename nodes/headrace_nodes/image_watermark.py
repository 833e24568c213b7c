"""image-watermark: draws a text over every picture of every product."""

from __future__ import annotations

import hashlib
import time
from decimal import Decimal
from typing import Final

from pydantic import Field

from headrace import Context, Node, Results, SourceError, Stream
from headrace_nodes import upstream
from headrace_nodes.forms import DataMetadata, FromUpstream, Share
from headrace_nodes.products import Product, mark_changed
from headrace_nodes.stamping import Position, Stamp, apply

MAX_BYTES: Final = 32 * 1024 * 1024
"""The largest picture file that is read."""
PAUSES: Final = (0.2, 1.0)
"""Seconds before a picture that could not be fetched is asked for again."""


class ImageWatermark(Node):
    """Draws a text over every picture and keeps the new pictures beside the products"""

    type = "image-watermark"
    title = "Watermark images"
    icon = "image"
    category = "Images"
    resources = {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}  # noqa: RUF012

    class Config(FromUpstream):
        text: str = Field("Headrace", title="Text", min_length=1, max_length=80)
        opacity: Share = Field(
            Decimal("0.35"),
            json_schema_extra={"default": 0.35},
            title="Opacity",
            description="0 is invisible, 1 is solid",
        )
        position: Position = Field(
            "bottom-right", title="Position", description="tile covers the whole picture"
        )
        max_pixels: int = Field(
            40_000_000,
            title="Largest picture",
            description="In pixels, once unpacked; a larger one fails its product",
            ge=1,
            le=200_000_000,
        )

    class Metadata(DataMetadata):
        images: int = Field(title="Pictures written", ge=0)

    def configure(self, ctx: Context) -> Stream:
        """The products of the map's item, or of the upstream."""
        return upstream.stream(ctx, ctx.config.source)

    def execute(self, ctx: Context, record: Product) -> Product:
        """The product with `image_watermarked`: a URI for each image. An unreadable image fails it."""
        stamp = _stamp(ctx.config)
        stamped = [_stamped(ctx, uri, stamp) for uri in record["images"]]
        record["image_watermarked"] = stamped
        mark_changed(record, "image_watermarked")
        ctx.state["images"] = ctx.state.get("images", 0) + len(stamped)
        return record

    def output(self, ctx: Context, results: Results) -> Metadata:
        """Where the products with their new pictures lie."""
        return self.Metadata(
            uri=results.uri,
            count=results.count,
            failed=results.failed,
            images=results.state.get("images", 0),
        )


def _stamp(config: ImageWatermark.Config) -> Stamp:
    return Stamp(config.text, float(config.opacity), config.position, config.max_pixels)


def _stamped(ctx: Context, uri: str, stamp: Stamp) -> str:
    """The URI of the picture with its watermark; its name is the same in every attempt."""
    data, extension = apply(_read(ctx, uri), stamp)
    name = hashlib.sha256(f"{uri}\n{stamp}".encode()).hexdigest()[:32]
    return ctx.write_file(f"images/{name[:2]}/{name}.{extension}", data)


def _read(ctx: Context, uri: str) -> bytes:
    """The bytes of a picture; a server that stumbles is asked again."""
    for pause in PAUSES:
        try:
            return ctx.read(uri, limit=MAX_BYTES)
        except SourceError as error:
            if not error.retryable:
                raise
            time.sleep(pause)
    return ctx.read(uri, limit=MAX_BYTES)


if __name__ == "__main__":
    ImageWatermark.main()
