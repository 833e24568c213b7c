"""What the tests fetch from registries is asked for again when it fails, and not for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.errors import ClusterError
from tests.cluster.trying import fetch

NEVER = "echo tried >> tries; echo 'no route to the registry' >&2; exit 1"
THIRD = "echo tried >> tries; test $(wc -l < tries) -ge 3"
"""Fails twice."""


def tries(folder: Path) -> int:
    return len((folder / "tries").read_text().splitlines())


def test_a_registry_that_has_a_hiccup_is_asked_again(tmp_path: Path):
    fetch(["sh", "-c", THIRD], "fetching it", directory=tmp_path, pauses=(0.0, 0.0, 0.0))
    assert tries(tmp_path) == 3


def test_one_that_is_away_is_given_up_and_it_says_what_was_said(tmp_path: Path):
    with pytest.raises(
        ClusterError, match="fetching it failed 3 times, at last with:\nno route to the registry"
    ):
        fetch(["sh", "-c", NEVER], "fetching it", directory=tmp_path, pauses=(0.0, 0.0))
    assert tries(tmp_path) == 3


def test_a_download_that_stands_still_is_broken_off(tmp_path: Path):
    with pytest.raises(ClusterError, match="nothing came of it within"):
        fetch(["sleep", "600"], "fetching it", directory=tmp_path, pauses=(), longest=0.2)
