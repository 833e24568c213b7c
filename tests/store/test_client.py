"""The wire that every short call shares: calls of one moment travel together, errors reach the one who asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio as aioredis

from app.embedded import EmbeddedValkey
from app.errors import EngineFault, StoreUnavailable
from app.store.client import Batcher, Script, translate
from app.store.keys import Keys


@pytest.fixture
async def batcher(valkey: EmbeddedValkey) -> AsyncIterator[Batcher]:
    made = Batcher(valkey.url, timeout=5)
    await made.call("PING")
    yield made
    await made.close()


async def test_calls_of_one_moment_travel_together_and_each_gets_its_reply(batcher: Batcher):
    before = batcher.writes
    replies = await asyncio.gather(*(batcher.call("ECHO", i) for i in range(100)))
    assert replies == [b"%d" % i for i in range(100)]
    assert batcher.writes == before + 1


async def test_a_call_does_not_wait_for_the_answers_before_it(batcher: Batcher):
    before = batcher.writes
    first = batcher.call("ECHO", "first")
    await asyncio.sleep(0)  # one turn of the loop: the first has left
    others = [batcher.call("ECHO", i) for i in range(50)]
    assert await asyncio.gather(first, *others) == [b"first", *(b"%d" % i for i in range(50))]
    assert batcher.writes == before + 2


async def test_what_fills_a_read_of_the_server_leaves_before_the_turn_is_over(batcher: Batcher):
    before = batcher.writes
    calls = [batcher.call("ECHO", b"%d" % i * 2048) for i in range(10)]
    assert batcher.writes > before
    assert await asyncio.gather(*calls) == [b"%d" % i * 2048 for i in range(10)]


async def test_an_error_reaches_only_the_one_who_asked(batcher: Batcher):
    bad, good = batcher.call("NOSUCHCOMMAND"), batcher.call("ECHO", "x")
    assert await good == b"x"
    with pytest.raises(EngineFault, match="unknown command"):
        await bad


async def test_a_caller_that_went_away_does_not_disturb_the_others(batcher: Batcher):
    gone, stays = batcher.call("ECHO", "a"), batcher.call("ECHO", "b")
    gone.cancel()
    assert await stays == b"b"
    assert await batcher.call("ECHO", "c") == b"c"


async def test_a_script_that_the_server_forgot_is_loaded_and_called_again(
    batcher: Batcher, client: aioredis.Redis, keys: Keys
):
    script = Script("due")
    await client.script_flush()
    replies = await asyncio.gather(*(batcher.script(script, [keys.timers], [1]) for _ in range(3)))
    assert len(replies) == 3
    assert await client.script_exists(script.sha) == [True]


async def test_a_wrong_password_is_unavailable_and_tells_nothing(valkey: EmbeddedValkey):
    batcher = Batcher(valkey.url.replace(f":{valkey.password}@", ":wrong@"), timeout=5)
    with pytest.raises(StoreUnavailable) as caught:
        await batcher.call("PING")
    assert "wrong" not in str(caught.value)
    await batcher.close()


async def test_every_script_has_a_header_with_its_contract():
    from importlib import resources

    folder = resources.files("app.store").joinpath("lua")
    for path in folder.iterdir():
        if path.name.endswith(".lua"):
            text = path.read_text("utf-8")
            assert "-- KEYS" in text, path.name
            assert "-- Replies" in text, path.name


async def test_a_server_that_is_gone_is_unavailable_and_found_again_when_it_is_back(tmp_path: Path):
    server = EmbeddedValkey(tmp_path / "server")
    server.start()
    batcher = Batcher(server.url, timeout=2)
    assert await batcher.call("SET", "{x}:k", "v") == b"OK"
    server.stop()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await batcher.call("GET", "{x}:k")
    server.start()
    assert await batcher.call("GET", "{x}:k") == b"v"
    await batcher.close()
    server.stop()


async def test_a_server_that_hangs_is_unavailable_within_the_timeout(tmp_path: Path):
    import os
    import signal

    server = EmbeddedValkey(tmp_path / "server")
    server.start()
    assert server.process is not None
    batcher = Batcher(server.url, timeout=0.2)
    await batcher.call("PING")
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            await batcher.call("PING")
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert await batcher.call("ECHO", "back") == b"back", "no reply of the lost call is taken for one of this"
    await batcher.close()
    server.stop()


@pytest.mark.parametrize(
    "text", ["OOM command not allowed", "MISCONF disk", "READONLY replica", "LOADING data", "BUSY script"]
)
def test_a_server_that_cannot_write_is_unavailable(text: str):
    from redis.exceptions import ResponseError

    assert isinstance(translate(ResponseError(text)), StoreUnavailable)
