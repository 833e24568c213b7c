"""Fault row 6: the store is killed and comes back. Nothing that was acknowledged is lost, and everything goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.embedded import EmbeddedValkey
from app.errors import StoreUnavailable


@pytest.fixture
def valkey_of_its_own(tmp_path: Path):
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def own_site(
    valkey_of_its_own: EmbeddedValkey, tmp_path: Path, installation, site
) -> AsyncIterator[Any]:
    """A site whose server may be killed."""
    from app.store.store import Store

    (tmp_path / "own").mkdir()
    installation = type(installation)(valkey_of_its_own, tmp_path / "own")
    installation.wait_for_api()
    made = type(site)(installation, await Store.open(installation.settings), tmp_path)
    yield made
    await made.clear()
    await made.close()
    installation.kill_all(api=True)


async def test_the_store_is_killed_under_a_running_node_and_comes_back(
    own_site, valkey_of_its_own: EmbeddedValkey
):
    site, server = own_site, valkey_of_its_own
    worker = await site.worker()
    gated = {"type": "program", "config": {"positions": 2, "gate": "go"}}
    (run,) = await site.fire({"a": gated, "b": {"type": "plain", "needs": ["a"]}})
    pid = await site.waits("a")
    before = await site.store.events.read(run, "0")
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    with pytest.raises(StoreUnavailable):
        await site.store.runs.get(run)
    answer = await site.http.post("/workflows/w/runs", json={})
    assert answer.status_code == 503, "never 202 for what is not stored"
    server.start()

    async def answers() -> bool:
        return (await site.http.get(f"/runs/{run}")).status_code == 200

    await site.until(answers, "the API has found the store again")
    assert (await site.store.events.read(run, "0"))[: len(before)] == before
    site.open("go")
    (later,) = await site.fire({"a": {"type": "plain"}})
    assert await site.ended(run) == "succeeded"
    assert await site.ended(later) == "succeeded"
    assert {line["pid"] for line in site.diary("a")} == {pid}, "the program was not started again"
    assert worker.poll() is None, "the worker has reconnected by itself"
    await site.check(run, later)
