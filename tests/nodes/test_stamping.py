"""Watermarks: real pixels, the same bytes every time, and images that must not be opened."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from headrace_nodes.stamping import BadImage, Stamp, apply


def picture(kind: str = "PNG", size: tuple[int, int] = (120, 90), mode: str = "RGB") -> bytes:
    """A plain picture."""
    out = io.BytesIO()
    Image.new(mode, size, 128 if mode == "L" else (90, 120, 150)).save(out, kind)
    return out.getvalue()


def changed(before: bytes, after: bytes) -> tuple[int, int, int, int]:
    """The box of the pixels that differ."""
    from PIL import ImageChops

    with Image.open(io.BytesIO(before)) as one, Image.open(io.BytesIO(after)) as two:
        box = ImageChops.difference(one.convert("RGB"), two.convert("RGB")).getbbox()
    assert box is not None
    return box


def test_the_text_is_drawn_in_the_corner_that_was_asked_for():
    left, top, right, bottom = changed(picture(), apply(picture(), Stamp("HEADRACE"))[0])
    assert right > 110
    assert bottom > 80
    assert top > 60
    assert left > 10


def test_tiles_cover_the_whole_picture():
    left, top, right, bottom = changed(picture(), apply(picture(), Stamp("x", position="tile"))[0])
    assert (right - left) * (bottom - top) > 0.6 * 120 * 90


@pytest.mark.parametrize(
    ("kind", "extension"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("GIF", "png")]
)
def test_a_picture_keeps_its_format_where_the_web_knows_it(kind: str, extension: str):
    data, found = apply(picture(kind), Stamp("x"))
    assert found == extension
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (120, 90)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_same_picture_gives_the_same_bytes(kind: str):
    assert apply(picture(kind), Stamp("x")) == apply(picture(kind), Stamp("x"))


def test_opacity_nought_leaves_the_pixels_alone():
    data, _ = apply(picture(), Stamp("x", opacity=0))
    with Image.open(io.BytesIO(data)) as image:
        assert image.convert("RGB").getcolors() == [(120 * 90, (90, 120, 150))]


def test_a_picture_turned_by_exif_is_stamped_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    Image.new("RGB", (120, 90)).save(out, "JPEG", exif=exif)
    with Image.open(io.BytesIO(apply(out.getvalue(), Stamp("x"))[0])) as image:
        assert image.size == (90, 120)
        assert not image.getexif()


@pytest.mark.parametrize("data", [b"", b"<svg/>", picture("JPEG")[:60], picture()[:-30], picture("TIFF")])
def test_what_cannot_be_read_is_a_bad_image(data: bytes):
    with pytest.raises(BadImage):
        apply(data, Stamp("x"))


def test_a_huge_picture_in_a_small_file_is_refused_before_it_is_unpacked():
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(BadImage):
        apply(bomb, Stamp("x"))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK"])
def test_every_colour_mode_is_stamped(mode: str):
    out = io.BytesIO()
    Image.new("RGB", (60, 60)).convert(mode if mode != "LA" else "L").save(
        out, "JPEG" if mode == "CMYK" else "PNG"
    )
    assert apply(out.getvalue(), Stamp("x"))[0]
