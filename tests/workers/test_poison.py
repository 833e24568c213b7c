"""Fault row 15: what cannot be handled is set aside with its reason, and everything else flows."""

from __future__ import annotations

import pytest


@pytest.fixture
def site(working_site):
    return working_site


async def dead_letters(site) -> list[dict[bytes, bytes]]:
    rows = await site.store.batcher.call("XRANGE", site.keys.dead, "-", "+")
    return [dict(zip(row[1][::2], row[1][1::2], strict=True)) for row in rows]


@pytest.mark.parametrize("payload", [b"{", b'{"w":"nowhere","v":1,"r":"r1","p":{},"src":"api"}', b"[]"])
async def test_a_poison_trigger_becomes_a_dead_letter_and_the_others_flow(site, payload: bytes):
    await site.store.batcher.call("XADD", site.keys.triggers, "*", "v", "1", "t", "tpoison", "d", payload)
    (run,) = await site.fire({"a": {"type": "plain"}})
    assert await site.ended(run) == "succeeded"

    async def buried():
        return [row for row in await dead_letters(site) if row[b"d"] == payload]

    (letter,) = await site.until(buried, "the trigger is a dead letter")
    assert (letter[b"kind"], letter[b"id"]) == (b"trigger", b"tpoison")
    assert letter[b"reason"]


@pytest.mark.parametrize(
    "raw", [b"{", b'{"k":"done","n":"nowhere","a":1}', b'{"k":"settled","n":"a","f":"x"}']
)
async def test_a_poison_signal_fails_its_run_is_kept_and_the_others_flow(site, raw: bytes):
    (poisoned,) = await site.fire({"a": {"wait": {"duration": "30d"}}})

    async def waits() -> bool:
        return (await site.node(poisoned, "a"))["status"] == "waiting"

    await site.until(waits, "the run waits")
    await site.store.batcher.call("RPUSH", site.keys.inbox(poisoned), raw)
    await site.store.batcher.call("XADD", site.keys.active, "*", "r", poisoned)
    (run,) = await site.fire({"a": {"type": "plain"}})
    assert await site.ended(poisoned) == "failed"
    assert (await site.store.runs.get(poisoned))["error"]["type"] == "engine_error"
    assert await site.ended(run) == "succeeded"
    (letter,) = [row for row in await dead_letters(site) if row[b"id"] == poisoned.encode()]
    assert raw in letter[b"d"]


async def test_a_signal_of_a_newer_release_waits_for_a_worker_that_reads_it(site):
    """Fault row 30: while releases are mixed, an older worker leaves it alone, however often it is given it."""
    (run,) = await site.fire({"a": {"wait": {"duration": "30d"}}})

    async def waits() -> bool:
        return (await site.node(run, "a"))["status"] == "waiting"

    await site.until(waits, "the run waits")
    raw = b'{"k":"fly","v":99}'
    await site.store.batcher.call("RPUSH", site.keys.inbox(run), raw)
    await site.store.batcher.call("XADD", site.keys.active, "*", "r", run)

    async def given_back() -> bool:
        rows = await site.store.batcher.call("XPENDING", site.keys.active, "workers", "-", "+", 10)
        return any(row[2] > 0 and row[3] <= 1 for row in rows)

    await site.until(given_back, "its entry is pending, and no delivery counted")
    assert await site.store.batcher.call("LRANGE", site.keys.inbox(run), 0, -1) == [raw]
    assert (await site.store.runs.get(run))["status"] == "running"
    await site.store.batcher.call("DEL", site.keys.inbox(run))  # a newer worker did it
    await site.http.post(f"/runs/{run}/cancel")
    assert await site.ended(run) == "cancelled"


async def test_an_entry_that_names_no_run_is_dropped(site):
    await site.store.batcher.call("XADD", site.keys.active, "*", "x", "y")
    await site.store.batcher.call("XADD", site.keys.active, "*", "r", "r0")

    async def drained() -> bool:
        return await site.store.batcher.call("XLEN", site.keys.active) == 0

    await site.until(drained, "the entries are gone")
