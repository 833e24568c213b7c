"""Part files: what is committed stays, what is not is gone, and an older process cannot spoil a newer
one's."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from headrace.durable import Directories
from headrace.errors import SourceError, StaleEpoch
from headrace.files import FileGuard
from headrace.parts import FLUSH_BYTES, PartStore, PartWriter
from headrace.position import MAX_BYTES, Position, Segment
from headrace.results import Results
from headrace.streams import Opener
from headrace.urls import UrlGuard

LINE = b'{"n":1}\n'
LARGE = b'"' + b"x" * FLUSH_BYTES + b'"\n'


def store(root: Path, epoch: int, attempt: int = 1) -> PartStore:
    return PartStore(root, attempt, epoch, Directories(root))


def committed(writer: PartWriter) -> Position:
    segments = writer.commit()
    return Position(emitted=writer.emitted, bytes=writer.bytes, segments=segments)


def content(root: Path, position: Position) -> bytes:
    parts = store(root, 99).parts(position.segments)
    return b"".join((root / str(part.path)).read_bytes()[: part.bytes] for part in parts)


def test_a_writer_that_writes_nothing_makes_no_file(tmp_path: Path) -> None:
    writer = PartWriter(store(tmp_path / "prefix", 1), Position(), 1000)
    assert writer.commit() == ()
    assert not (tmp_path / "prefix").exists()


def test_what_was_not_committed_is_not_part_of_the_stream(tmp_path: Path) -> None:
    first = PartWriter(store(tmp_path, 1), Position(), FLUSH_BYTES)
    first.append(LINE)
    position = committed(first)
    first.append(LARGE)
    first.append(LARGE)
    first.close()
    second = PartWriter(store(tmp_path, 2), position, FLUSH_BYTES)
    second.append(b'{"n":2}\n')
    position = committed(second)
    second.close()
    assert content(tmp_path, position) == LINE + b'{"n":2}\n'
    assert second.sha256() == hashlib.sha256(LINE + b'{"n":2}\n').hexdigest()


def test_closed_parts_are_counted_and_listed_only_in_their_index(tmp_path: Path) -> None:
    writer = PartWriter(store(tmp_path, 1), Position(), FLUSH_BYTES)
    for _ in range(5):
        writer.append(LARGE)
    writer.append(LINE)
    position = committed(writer)
    writer.close()
    assert position.segments == (Segment("1-1", 5, 1, len(LINE)),)
    assert content(tmp_path, position) == LARGE * 5 + LINE


def test_a_position_stays_small_whatever_the_number_of_parts() -> None:
    segments = tuple(Segment(f"3-{epoch}", 10**6, 10**6, 10**7) for epoch in range(100))
    position = Position(10**9, 10**9, 10**6, 10**12, segments)
    assert len(str(position._replace(clean=position).dump())) < MAX_BYTES
    assert Position.load(position.dump()) == position


def test_a_new_process_discards_what_older_ones_never_committed(tmp_path: Path) -> None:
    for epoch in (1, 2):
        writer = PartWriter(store(tmp_path, epoch), Position(), 1000)
        writer.append(LINE)
        kept = committed(writer)
        writer.close()
    third = PartWriter(store(tmp_path, 3), kept, 1000)
    third.append(LINE)
    third.commit()
    third.close()
    assert sorted(os.listdir(tmp_path / "parts")) == ["1-2", "1-3"]


def test_an_older_process_discards_nothing_and_is_told_that_it_is_stale(tmp_path: Path) -> None:
    newer = PartWriter(store(tmp_path, 1, attempt=2), Position(), 1000)
    newer.append(LINE)
    newer.commit()
    newer.close()
    older = PartWriter(store(tmp_path, 7, attempt=1), Position(), 1000)
    older.append(LINE)
    with pytest.raises(StaleEpoch):
        older.commit()
    assert os.listdir(tmp_path / "parts") == ["2-1"]


def test_an_older_process_cannot_publish_over_a_newer_one(tmp_path: Path) -> None:
    opener = Opener(FileGuard([str(tmp_path)]), UrlGuard())
    writer = PartWriter(store(tmp_path, 1), Position(), 1000)
    writer.append(LINE)
    position = committed(writer)
    writer.close()
    newer = PartWriter(store(tmp_path, 2), position, 1000)
    newer.append(LINE)
    newest = committed(newer)
    newer.close()
    uri = Results(store(tmp_path, 2), newest, opener).uri
    with pytest.raises(StaleEpoch):
        assert Results(store(tmp_path, 1), position, opener).uri
    assert list(opener.open(uri)) == [{"n": 1}, {"n": 1}]


def test_an_epoch_handed_out_twice_writes_into_a_directory_of_its_own(tmp_path: Path) -> None:
    names: list[str] = []
    for _ in range(3):
        writer = PartWriter(store(tmp_path, 1), Position(), 1000)
        writer.append(LINE)
        names.append(writer.commit()[-1].directory)
        writer.close()
    assert names == ["1-1", "1-1.2", "1-1.3"]


def test_a_committed_part_that_is_lost_is_an_error_at_resume(tmp_path: Path) -> None:
    writer = PartWriter(store(tmp_path, 1), Position(), 1000)
    writer.append(LINE)
    position = committed(writer)
    writer.close()
    part = tmp_path / "parts" / "1-1" / "000000.ndjson"
    part.write_bytes(LINE[:-1])
    with pytest.raises(SourceError, match="shorter"):
        PartWriter(store(tmp_path, 2), position, 1000)
    part.unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        PartWriter(store(tmp_path, 2), position, 1000)


def test_after_a_write_that_failed_half_way_nothing_more_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = PartWriter(store(tmp_path, 1), Position(), FLUSH_BYTES)
    writer.append(LINE)
    position = committed(writer)
    write = os.write

    def full(descriptor: int, data: memoryview) -> int:
        if len(data) > 4:
            return write(descriptor, data[:4])
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "write", full)
    writer.append(LINE)
    with pytest.raises(OSError, match="disk full"):
        writer.commit()
    monkeypatch.undo()
    with pytest.raises(OSError, match="earlier write"):
        writer.commit()
    writer.close()
    resumed = PartWriter(store(tmp_path, 2), position, FLUSH_BYTES)
    resumed.append(LINE)
    assert content(tmp_path, committed(resumed)) == LINE * 2
    resumed.close()


def test_names_are_synced_up_to_the_data_root_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(str(tmp_path)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    directories = Directories(tmp_path)
    directories.write(tmp_path / "run" / "node" / "a", b"1")
    first, synced[:] = list(synced), []
    directories.write(tmp_path / "run" / "node" / "b", b"2")
    assert first[1:] == ["/run/node", "/run", ""]
    assert synced[1:] == ["/run/node"]
