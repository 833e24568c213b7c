"""Backup and restore of an installation's whole state in Redis: one file, one moment.

The file is a zip of `dump.rdb`, the server's snapshot, and `manifest.json`, which says what is in it. It holds every secret of
the installation, and is readable for its owner only. A restore reads it with the embedded server and copies by value, so the
target may be another release or kind of server.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import tempfile
import time
import zipfile
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import orjson

from app.core.round import iso
from app.embedded import EmbeddedValkey
from app.errors import Conflict, InvalidInput, Unavailable, UsageError
from app.store.client import Batcher
from app.store.copying import Copier, clear, keys_of
from app.store.keys import Keys
from app.store.snapshot import snapshot
from app.store.workers import Workers

FORMAT = 1
TIMEOUT = 60.0
"""Seconds that one call to a server may take."""
DUMP, MANIFEST = "dump.rdb", "manifest.json"
CHUNK = 1 << 20


@dataclass(slots=True, frozen=True)
class Manifest:
    """What a backup says of itself."""

    format: int
    release: str
    prefix: str
    created: str
    """The moment that it shows, at the latest."""
    bytes: int
    sha256: str
    keys: int
    runs: int


async def back_up(url: str, prefix: str, file: Path) -> Manifest:
    """Write a backup, read it back, and put it at `file`. Raises UsageError, Unavailable."""
    part = file.with_name(file.name + ".part")
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
    with os.fdopen(descriptor, "w+b") as out:
        try:
            digest = sha256()
            with (
                zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
                archive.open(DUMP, "w", force_zip64=True) as dump,
            ):

                def write(chunk: bytes) -> None:
                    digest.update(chunk)
                    dump.write(chunk)

                size = await snapshot(url, write)
            created = iso(time.time_ns() // 1_000_000)
            out.flush()
            async with opened(part) as source:
                keys = Keys(prefix)
                count = await _count(source, keys)
                runs = int(await source.call("ZCARD", keys.runs))
            if count == 0:
                raise UsageError(f"the server has no installation with the prefix '{prefix}'")
            manifest = Manifest(FORMAT, importlib.metadata.version("headrace"), prefix, created, size,
                                digest.hexdigest(), count, runs)  # fmt: skip
            with zipfile.ZipFile(out, "a") as archive:
                archive.writestr(MANIFEST, orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2))
            out.flush()
            os.fsync(out.fileno())
            part.replace(file)
            _sync_directory(file.parent)
        finally:
            part.unlink(missing_ok=True)
    return manifest


async def restore(file: Path, url: str, prefix: str, *, force: bool = False) -> Manifest:
    """Put a backup into a server that has no installation of this prefix yet; with `force` what is there is removed first.

    Raises InvalidInput for a file that is no backup or damaged, Conflict for a target in use.
    """
    manifest = read_manifest(file)
    if manifest.prefix != prefix:
        raise UsageError(
            f"the backup is of the prefix '{manifest.prefix}', this is '{prefix}': set HEADRACE_PREFIX"
        )
    keys, target = Keys(prefix), Batcher(url, TIMEOUT)
    try:
        if live := await Workers(target, keys, lease_ms=0).live():
            raise Conflict(f"{len(live)} workers are alive: stop them and the API first, or wait 10 seconds")
        if await _count(target, keys):
            if not force:
                raise Conflict("the target holds an installation already; --force removes it first")
            await clear(target, keys)
        async with opened(file) as source:
            await Copier(source, target, keys).run()
            await _compare(source, target, keys)
    finally:
        await target.close()
    return manifest


async def _compare(source: Batcher, target: Batcher, keys: Keys) -> None:
    """Every run and every trigger that was in the backup is in the target."""
    for command, key in (
        ("ZCARD", keys.runs),
        ("XLEN", keys.triggers),
        ("XLEN", keys.active),
        ("ZCARD", keys.timers),
    ):
        was, found = await asyncio.gather(source.call(command, key), target.call(command, key))
        if was != found:
            raise Unavailable(
                f"the restore is not whole: {found} of {was} of {key}; run it again with --force"
            )


async def _count(batcher: Batcher, keys: Keys) -> int:
    return sum([len(names) async for names in keys_of(batcher, keys)])


def read_manifest(file: Path) -> Manifest:
    """Raises InvalidInput."""
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = Manifest(**orjson.loads(archive.read(MANIFEST)))
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{file} is not a backup of Headrace, or not whole") from error
    if manifest.format != FORMAT:
        raise InvalidInput(f"{file} is of a later release ({manifest.release}): restore it with that one")
    return manifest


@contextlib.asynccontextmanager
async def opened(file: Path) -> AsyncGenerator[Batcher]:
    """The state in a backup, served by an embedded server. Raises InvalidInput for a damaged one, Unavailable."""
    with tempfile.TemporaryDirectory(prefix="headrace-backup-") as folder:
        await asyncio.to_thread(_extract, file, Path(folder))
        server = EmbeddedValkey(Path(folder), append=False)
        try:
            await asyncio.to_thread(server.start, 600)
        except Unavailable as error:
            await asyncio.to_thread(server.stop)
            raise Unavailable(
                "the embedded server cannot read the snapshot: it comes from a server of another kind"
            ) from error
        source = Batcher(server.url, TIMEOUT)
        try:
            yield source
        finally:
            await source.close()
            await asyncio.to_thread(server.stop)


def _extract(file: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive, archive.open(DUMP) as dump, (folder / DUMP).open("wb") as out:
            digest = sha256()
            while chunk := dump.read(CHUNK):
                digest.update(chunk)
                out.write(chunk)
            told = orjson.loads(archive.read(MANIFEST))["sha256"] if MANIFEST in archive.namelist() else None
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{file} is damaged") from error
    if told is not None and told != digest.hexdigest():
        raise InvalidInput(f"{file} is damaged: its snapshot is not the one that was written")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
