"""Backup and restore: what was accepted by the moment of the backup runs to its end after everything else is lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from app.backup import back_up, read_manifest, restore
from app.embedded import EmbeddedValkey
from app.errors import Conflict, InvalidInput, UsageError
from app.store.store import Store

NODES = {
    "a": {"type": "plain"},
    "b": {"type": "plain", "needs": ["a"]},
    "m": {"type": "plain", "map": {"over": [1, 2]}},
}


async def test_all_that_was_accepted_by_the_backup_ends_on_a_fresh_server(servers, sites, tmp_path: Path):
    old = servers("old")
    site = await sites(old, "before")
    prefix = site.installation.settings.prefix
    await site.worker()
    accepted = await site.fire(NODES, "w", times=15)

    async def some_have_ended() -> bool:
        runs, _ = await site.store.runs.list(status="succeeded")
        return len(runs) >= 3

    await site.until(some_have_ended, "runs have ended")
    firing = asyncio.create_task(site.fire(NODES, "w", times=10))
    manifest = await back_up(old.url, prefix, tmp_path / "state.backup")
    assert manifest.runs > 0
    await firing
    site.installation.kill_all(api=True)
    assert old.process is not None
    old.process.kill()

    new = servers("new")
    assert await restore(tmp_path / "state.backup", new.url, prefix) == manifest
    site = await sites(new, "after", prefix)
    await site.worker()
    assert [await site.ended(run) for run in accepted] == ["succeeded"] * 15
    assert (await site.http.get("/workflows/w")).status_code == 200, "keys and workflows are there too"
    assert await site.store.workers.holders() == {}


async def test_a_restore_refuses_a_target_in_use_and_leaves_it_as_it_is(servers, tmp_path: Path, settings):
    server, file = servers("one"), tmp_path / "state.backup"
    mine = settings.model_copy(update={"redis_url": type(settings.redis_url)(server.url)})
    store = await Store.open(mine)
    await store.workers.announce("w1", {"host": "here", "pid": 1})
    await back_up(server.url, mine.prefix, file)
    with pytest.raises(Conflict, match="workers are alive"):
        await restore(file, server.url, mine.prefix, force=True)
    await store.workers.withdraw("w1")
    with pytest.raises(Conflict, match="--force"):
        await restore(file, server.url, mine.prefix)
    await store.batcher.call("SET", f"{store.keys.tag}:later", "1")
    await restore(file, server.url, mine.prefix, force=True)
    assert await store.batcher.call("EXISTS", f"{store.keys.tag}:later") == 0
    assert await store.batcher.call("GET", store.keys.secret) == store.secret
    await store.close()


async def test_every_kind_of_key_comes_back_as_it_was(servers, tmp_path: Path, settings):
    server, file, prefix = servers("one"), tmp_path / "state.backup", settings.prefix
    mine = settings.model_copy(update={"redis_url": type(settings.redis_url)(server.url)})
    store = await Store.open(mine)
    call, tag = store.batcher.call, store.keys.tag
    await call("HSET", f"{tag}:h", *(value for i in range(2000) for value in (f"f{i}", "x" * 90)))
    await call("ZADD", f"{tag}:z", *(value for i in range(2000) for value in (i * 1.5, f"m{i}")))
    await call("SADD", f"{tag}:s", *range(1500))
    await call("RPUSH", f"{tag}:l", *(f"{i}" for i in range(1500)))
    await call("SET", f"{tag}:p", bytes(range(256)), "PX", 1_000_000)
    for i in range(1200):
        call("XADD", f"{tag}:x", f"5-{i + 1}", "d", f"{i}")
    await call("XDEL", f"{tag}:x", "5-1200")
    await call("XGROUP", "CREATE", f"{tag}:x", "workers", "5-3")
    names = [f"{tag}:{each}" for each in "hzslpx"]
    reads = (("HGETALL",), ("ZRANGE", "0", "-1", "WITHSCORES"), ("SMEMBERS",), ("LRANGE", "0", "-1"), ("GET",),
             ("XRANGE", "-", "+"))  # fmt: skip

    async def contents() -> list[Any]:
        found = [await call(read[0], name, *read[1:]) for name, read in zip(names, reads, strict=True)]
        return [dict(zip(found[0][::2], found[0][1::2], strict=True)), found[1], set(found[2]), *found[3:],
                await call("PEXPIRETIME", f"{tag}:p")]  # fmt: skip

    before = await contents()
    manifest = await back_up(server.url, prefix, file)
    await restore(file, server.url, prefix, force=True)
    assert await contents() == before
    assert await call("XADD", f"{tag}:x", "5-*", "d", "new") == b"5-1201", "no id is given twice"
    entries = await call("XREADGROUP", "GROUP", "workers", "me", "COUNT", "1", "STREAMS", f"{tag}:x", ">")
    assert entries[0][1][0][0] == b"5-1", "what was not acknowledged is to be done"
    assert manifest.keys == 7
    assert file.stat().st_mode & 0o777 == 0o600
    await store.close()


async def test_a_damaged_file_restores_nothing(servers, tmp_path: Path, settings):
    server, file, prefix = servers("one"), tmp_path / "state.backup", settings.prefix
    mine = settings.model_copy(update={"redis_url": type(settings.redis_url)(server.url)})
    await (await Store.open(mine)).close()
    await back_up(server.url, prefix, file)
    whole = file.read_bytes()
    target = servers("two")
    for bad in (whole[:-40], b"nonsense", whole[:60] + bytes(8) + whole[68:]):
        file.write_bytes(bad)
        with pytest.raises(InvalidInput):
            await restore(file, target.url, prefix)
    file.write_bytes(whole)
    with pytest.raises(UsageError, match="HEADRACE_PREFIX"):
        await restore(file, target.url, "another")
    assert read_manifest(file).prefix == prefix
    with zipfile.ZipFile(file) as archive:
        assert set(archive.namelist()) == {"dump.rdb", "manifest.json"}


async def test_a_backup_of_nothing_is_refused_and_leaves_no_file(servers, tmp_path: Path):
    with pytest.raises(UsageError, match="prefix"):
        await back_up(servers("one").url, "nobody", tmp_path / "state.backup")
    assert not list(tmp_path.glob("state.backup*"))


def test_a_data_directory_is_backed_up_and_restored_by_one_command_each(tmp_path: Path):
    """As `headrace dev` leaves it, not running."""
    import redis

    def headrace(*arguments: str) -> str:
        command = [sys.executable, "-m", "app.cli.main", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    for name, value in (("one", "kept"), ("two", "")):
        server = EmbeddedValkey(tmp_path / name / "valkey")
        if value:
            server.start()
            redis.Redis.from_url(server.url, socket_timeout=5).set("{headrace:0}:secret", value)
            server.stop()
    file = str(tmp_path / "state.backup")
    assert "0 runs, 1 keys" in headrace("backup", file, "--data", str(tmp_path / "one"))
    assert "restored 0 runs" in headrace("restore", file, "--data", str(tmp_path / "two"))
    server = EmbeddedValkey(tmp_path / "two" / "valkey")
    server.start()
    assert redis.Redis.from_url(server.url, socket_timeout=5).get("{headrace:0}:secret") == b"kept"
    server.stop()
