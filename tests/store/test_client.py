"""The coalescing pipeline: concurrent calls share a round trip, and errors reach the one who asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.embedded import EmbeddedValkey
from app.errors import EngineFault, StoreUnavailable
from app.store.client import MAX_BATCH, Batcher, Script, connect, translate
from app.store.store import Store


class Counting(Batcher):
    """Counts its round trips."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.client)
        self.batches: list[int] = []
        self.sent = asyncio.Event()

    async def _pipeline(self, commands):
        self.batches.append(len(commands))
        self.sent.set()
        return await super()._pipeline(commands)


@pytest.fixture
async def batcher(store: Store) -> AsyncIterator[Counting]:
    made = Counting(store)
    yield made
    await made.close()


async def test_a_call_alone_leaves_at_once(batcher: Counting):
    assert await batcher.call("ECHO", "a") == b"a"
    assert batcher.batches == [1]


async def test_calls_of_one_moment_travel_together_and_each_gets_its_reply(batcher: Counting):
    replies = await asyncio.gather(*(batcher.call("ECHO", i) for i in range(100)))
    assert replies == [b"%d" % i for i in range(100)]
    assert batcher.batches == [100]


async def test_calls_gather_while_the_batch_before_them_is_on_the_wire(batcher: Counting):
    first = batcher.call("ECHO", "first")
    await batcher.sent.wait()
    others = [batcher.call("ECHO", i) for i in range(50)]
    await asyncio.gather(first, *others)
    assert batcher.batches == [1, 50]


async def test_a_batch_is_bounded(batcher: Counting):
    await asyncio.gather(*(batcher.call("ECHO", i) for i in range(MAX_BATCH + 1)))
    assert batcher.batches == [MAX_BATCH, 1]


async def test_an_error_reaches_only_the_one_who_asked(batcher: Counting, store: Store):
    bad, good = batcher.call("NOSUCHCOMMAND"), batcher.call("ECHO", "x")
    assert await good == b"x"
    with pytest.raises(EngineFault, match="unknown command"):
        await bad


async def test_a_caller_that_went_away_does_not_disturb_the_others(batcher: Counting):
    gone, stays = batcher.call("ECHO", "a"), batcher.call("ECHO", "b")
    gone.cancel()
    assert await stays == b"b"
    assert await batcher.call("ECHO", "c") == b"c"


async def test_a_script_that_the_server_forgot_is_loaded_and_called_again_once(
    batcher: Counting, store: Store
):
    script = Script("due")
    await store.client.script_flush()
    replies = await asyncio.gather(*(batcher.script(script, [store.keys.timers], [1]) for _ in range(3)))
    assert len(replies) == 3
    assert batcher.batches == [3, 1, 3]
    await batcher.script(script, [store.keys.timers], [1])
    assert batcher.batches == [3, 1, 3, 1]


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
    client = connect(server.url, timeout=2)
    batcher = Batcher(client)
    assert await batcher.call("SET", "{x}:k", "v") == b"OK"
    server.stop()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await batcher.call("GET", "{x}:k")
    server.start()
    assert await batcher.call("GET", "{x}:k") == b"v"
    await batcher.close()
    await client.aclose()
    server.stop()


async def test_a_server_that_hangs_is_unavailable_within_the_timeout(tmp_path: Path):
    import os
    import signal

    server = EmbeddedValkey(tmp_path / "server")
    server.start()
    assert server.process is not None
    client = connect(server.url, timeout=0.2)
    batcher = Batcher(client)
    await batcher.call("PING")
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            await batcher.call("PING")
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert await batcher.call("ECHO", "back") == b"back", "no reply of the lost call is taken for one of this"
    await batcher.close()
    await client.aclose()
    server.stop()


@pytest.mark.parametrize(
    "text", ["OOM command not allowed", "MISCONF disk", "READONLY replica", "LOADING data", "BUSY script"]
)
def test_a_server_that_cannot_write_is_unavailable(text: str):
    from redis.exceptions import ResponseError

    assert isinstance(translate(ResponseError(text)), StoreUnavailable)
