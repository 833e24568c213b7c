"""image-watermark: new pictures beside the products; a picture that cannot be read fails its product."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from headrace.testing import Outcome, run_node
from headrace_nodes.image_watermark import ImageWatermark


@pytest.fixture
def marked(
    tmp_path: Path, catalog: Callable[..., str], product: Callable[..., dict[str, Any]]
) -> Callable[..., Outcome]:
    """Watermarks one product for each list of images."""
    for name in ("one.png", "two.jpg"):
        Image.new("RGB", (120, 90), (90, 120, 150)).save(tmp_path / name)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")

    def run(*images: list[str], **config: Any) -> Outcome:
        uri = catalog(*(product(f"p{index}", images=uris) for index, uris in enumerate(images)))
        return run_node(ImageWatermark, config=config, item={"uri": uri}, data_dir=tmp_path, tolerate=0.9)

    return run


def test_every_picture_gets_a_new_one_in_the_same_order(marked: Callable[..., Outcome], tmp_path: Path):
    outcome = marked(["file:one.png", "file:two.jpg"])
    record = outcome.records[0]
    assert [uri.rpartition(".")[2] for uri in record["image_watermarked"]] == ["png", "jpg"]
    assert record["images"] == ["file:one.png", "file:two.jpg"]
    with Image.open(record["image_watermarked"][0].removeprefix("file://")) as image:
        colours = image.convert("RGB").getcolors(10_000)
    assert colours is not None
    assert len(colours) > 1
    assert outcome.metadata["images"] == 2


@pytest.mark.parametrize(
    "uri", ["file:broken.jpg", "file:missing.png", "file:///etc/hostname", "http://10.0.0.1/a.png"]
)
def test_one_unreadable_picture_fails_only_its_product(marked: Callable[..., Outcome], uri: str):
    outcome = marked(["file:one.png"], [uri], ["file:two.jpg"])
    assert (outcome.metadata["count"], outcome.metadata["failed"]) == (2, 1)
    assert [entry["key"] for entry in outcome.failed] == ["p1"]


def test_a_product_without_pictures_stays_without(marked: Callable[..., Outcome]):
    assert marked([]).records[0]["image_watermarked"] == []


def test_a_picture_of_too_many_pixels_is_not_unpacked(marked: Callable[..., Outcome]):
    outcome = marked(["file:one.png"], [], max_pixels=100)
    assert "more than 100 allowed" in outcome.failed[0]["message"]


def test_the_same_picture_has_the_same_name_and_bytes_when_it_is_drawn_again(marked: Callable[..., Outcome]):
    def pictures(outcome: Outcome) -> dict[str, bytes]:
        files = outcome.data_dir / "files"
        return {str(path.relative_to(files)): path.read_bytes() for path in files.rglob("*.*")}

    first = pictures(marked(["file:one.png", "file:two.jpg"]))
    assert len(first) == 2
    assert pictures(marked(["file:one.png", "file:two.jpg"])) == first


def test_a_picture_comes_from_the_web_through_the_guard(
    tmp_path: Path,
    catalog: Callable[..., str],
    product: Callable[..., dict[str, Any]],
    web: Callable[[bytes], str],
):
    out = io.BytesIO()
    Image.new("RGB", (60, 60)).save(out, "PNG")
    url = web(out.getvalue())
    host = url.split("/")[2]
    uri = catalog(product(images=[url]))
    outcome = run_node(ImageWatermark, item={"uri": uri}, data_dir=tmp_path, url_allow=[host])
    assert outcome.metadata["images"] == 1
