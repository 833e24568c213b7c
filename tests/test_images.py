"""The images install what the tests ran with: their lock files are parts of requirements.lock."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pins(path: Path) -> set[tuple[str, str]]:
    """(distribution, version) of a lock file."""
    return set(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", ["build", "headrace", "nodes"])
def test_an_image_has_the_versions_of_the_lock_file(name: str):
    assert pins(ROOT / "k8s" / "images" / f"{name}.lock") <= pins(ROOT / "requirements.lock")


def test_the_engines_image_lacks_nothing_but_what_development_needs():
    image, everything = (
        {each for each, _ in pins(path)}
        for path in (ROOT / "k8s" / "images" / "headrace.lock", ROOT / "requirements.lock")
    )
    assert {"starlette", "redis", "arq", "kubernetes-asyncio", "pillow"} <= image
    assert not {"pytest", "locust", "ruff"} & image
    assert image < everything
