"""File URIs reach only what lies below the data roots."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.errors import Blocked, SourceMissing
from headrace.files import FileGuard


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with one feed; a secret lies beside it."""
    folder = tmp_path / "root"
    (folder / "feeds").mkdir(parents=True)
    (folder / "feeds" / "a b#1.ndjson").write_bytes(b"{}\n")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return folder


def content(guard: FileGuard, uri: str) -> bytes:
    file, _ = guard.open(uri)
    with file:
        return file.read()


def test_a_relative_uri_is_found_below_each_root(root: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    (second / "only-here.ndjson").write_bytes(b"2")
    guard = FileGuard([str(root), f"file:{second}"])
    assert content(guard, "file:only-here.ndjson") == b"2"
    assert content(guard, "file:feeds/a%20b%231.ndjson") == b"{}\n"


def test_an_absolute_uri_below_a_root_is_opened(root: Path) -> None:
    assert content(FileGuard([str(root)]), f"file://{root}/feeds/a%20b%231.ndjson") == b"{}\n"


@pytest.mark.parametrize(
    "uri",
    [
        "file:///proc/self/environ",
        "file:///etc/passwd",
        "file:../secret.txt",
        "file:feeds/../../secret.txt",
        "file:feeds/%2e%2e/%2e%2e/secret.txt",
        "file://other-host/feeds/x",
        "file:feeds/a%00b",
        "file:feeds/x?y",
        "file:",
    ],
)
def test_everything_outside_the_roots_is_blocked(root: Path, uri: str) -> None:
    with pytest.raises(Blocked):
        FileGuard([str(root)]).open(uri)


def test_a_directory_whose_name_begins_like_the_root_is_outside(root: Path) -> None:
    sibling = root.with_name("root-of-another")
    sibling.mkdir()
    (sibling / "x").write_bytes(b"x")
    with pytest.raises(Blocked):
        FileGuard([str(root)]).open(f"file://{sibling}/x")


def test_a_symlink_out_of_the_root_is_blocked(root: Path, tmp_path: Path) -> None:
    (root / "link").symlink_to(tmp_path / "secret.txt")
    (root / "up").symlink_to(tmp_path)
    for uri in ("file:link", "file:up/secret.txt"):
        with pytest.raises(Blocked):
            FileGuard([str(root)]).open(uri)


def test_a_symlink_within_the_root_is_followed(root: Path) -> None:
    (root / "latest").symlink_to(root / "feeds" / "a b#1.ndjson")
    assert content(FileGuard([str(root)]), "file:latest") == b"{}\n"


def test_proc_is_no_data_even_below_a_root_of_everything() -> None:
    with pytest.raises(Blocked):
        FileGuard(["/"]).open("file:///proc/self/environ")


def test_a_pipe_or_a_directory_is_no_feed(root: Path) -> None:
    os.mkfifo(root / "pipe")
    for uri in ("file:pipe", "file:feeds"):
        with pytest.raises(Blocked, match="not a regular file"):
            FileGuard([str(root)]).open(uri)


def test_a_missing_file_is_said_to_be_missing(root: Path) -> None:
    with pytest.raises(SourceMissing):
        FileGuard([str(root)]).open("file:feeds/none.ndjson")
