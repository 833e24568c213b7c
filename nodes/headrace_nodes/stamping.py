"""A text drawn over an image: real pixels, the same bytes for the same input on the same Pillow."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final, Literal

from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

Position = Literal["center", "top-left", "top-right", "bottom-left", "bottom-right", "tile"]

_FORMATS: Final = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "png", "BMP": "png"}


class BadImage(ValueError):
    """The bytes are no image that can be stamped."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is drawn. `opacity` is 0 to 1; `max_pixels` bounds the size of an image once unpacked."""

    text: str
    opacity: float = 0.35
    position: Position = "bottom-right"
    max_pixels: int = 40_000_000


def apply(data: bytes, stamp: Stamp) -> tuple[bytes, str]:
    """The stamped image and its file name's extension; JPEG, PNG and WebP stay what they were, others become
    PNG.

    Turned as its EXIF says; EXIF itself (places, cameras) is left out. Raises BadImage for anything
    unreadable, and for an image of more than `max_pixels` before it is unpacked.
    """
    try:
        with Image.open(io.BytesIO(data), formats=tuple(_FORMATS)) as image:
            kind = image.format or "PNG"
            if image.width * image.height > stamp.max_pixels:
                raise BadImage(
                    f"{image.width} x {image.height} pixels are more than {stamp.max_pixels} allowed"
                )
            profile = image.info.get("icc_profile")
            image.load()
            upright = ImageOps.exif_transpose(image)
    except BadImage:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage("not an image this node can read (JPEG, PNG, WebP, GIF, BMP)") from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
        raise BadImage(f"the image is damaged: {type(error).__name__}") from None
    stamped = Image.alpha_composite(upright.convert("RGBA"), _layer(upright.size, stamp))
    return _encode(stamped, kind, profile), _FORMATS[kind]


def _layer(size: tuple[int, int], stamp: Stamp) -> Image.Image:
    """A transparent layer with the text in white on a dark outline: to be seen on any ground."""
    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    height = max(10, min(size) // (14 if stamp.position == "tile" else 9))
    font = ImageFont.load_default(height)
    alpha = round(255 * stamp.opacity)
    edge = max(1, height // 14)
    box = draw.textbbox((0, 0), stamp.text, font=font, stroke_width=edge)
    width, tall = int(box[2] - box[0]), int(box[3] - box[1])
    for left, top in _places(size, (width, tall), stamp.position):
        draw.text(
            (left - box[0], top - box[1]),
            stamp.text,
            font=font,
            fill=(255, 255, 255, alpha),
            stroke_width=edge,
            stroke_fill=(0, 0, 0, alpha),
        )
    return layer


def _places(size: tuple[int, int], text: tuple[int, int], position: Position) -> list[tuple[int, int]]:
    margin = max(2, min(size) // 40)
    across, down = size[0] - text[0], size[1] - text[1]
    if position == "tile":
        step_x, step_y = text[0] + 4 * margin + 8, 3 * text[1] + 8
        return [(x, y) for y in range(margin, size[1], step_y) for x in range(margin, size[0], step_x)]
    if position == "center":
        return [(across // 2, down // 2)]
    left = margin if position.endswith("left") else across - margin
    top = margin if position.startswith("top") else down - margin
    return [(left, top)]


def _encode(image: Image.Image, kind: str, profile: bytes | None) -> bytes:
    out = io.BytesIO()
    if kind == "JPEG":
        image.convert("RGB").save(out, "JPEG", quality=90, icc_profile=profile)
    elif kind == "WEBP":
        image.save(out, "WEBP", quality=90, icc_profile=profile)
    else:
        image.save(out, "PNG", icc_profile=profile)
    return out.getvalue()
