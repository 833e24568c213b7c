"""The stream that names runs with signals was lost: every run that has some is named again, whoever dies on the way."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.signals import Signal, SignalKind
from app.store import mending as mending_module
from app.store.client import Batcher
from app.store.store import Store
from app.store.streams import SharedStream

ONE = {"a": {"type": "step"}}
MANY = 600
"""More runs than the index holds in one piece."""


async def lose(store: Store, by: SharedStream) -> None:
    """The stream is gone, and this reader finds it gone."""
    await store.batcher.call("DEL", store.keys.active)
    assert await by.read(1, 1) == []


async def named(store: Store) -> set[str]:
    rows = await store.batcher.call("XRANGE", store.keys.active, "-", "+")
    return {fields[1].decode() for _, fields in rows}


async def test_no_run_is_jumped_over_when_another_is_removed_meanwhile(
    store: Store, hand, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mending_module, "PAGE", 50)
    await lose(store, hand.active)
    runs = [f"r{number:024x}" for number in range(MANY)]
    await store.batcher.call("ZADD", store.keys.runs, *(x for n, run in enumerate(runs) for x in (n, run)))
    for run in runs:
        await store.batcher.call("RPUSH", store.keys.inbox(run), "{}")
    whole, removed = Batcher.script, list[str]()

    def removes_the_oldest(self: Batcher, script: Any, keys: Any, args: Any, *more: Any) -> Any:
        answer = whole(self, script, keys, args, *more)
        if script.name == "reactivate":
            removed.append(runs[len(removed)])
            self.call("ZREM", store.keys.runs, removed[-1])
        return answer

    monkeypatch.setattr(Batcher, "script", removes_the_oldest)
    await store.mending.reactivate()
    assert len(removed) > 5
    assert await named(store) >= set(runs) - set(removed)


async def test_whoever_sweeps_next_names_the_runs_when_the_one_that_made_the_group_is_dead(
    store: Store, hand
):
    run = await hand.begin(ONE)
    await hand.signal(run, Signal(SignalKind.DUE, "a"))
    await lose(store, store.stream(store.keys.active, "doomed"))
    assert await named(store) == set()
    assert await store.mending.reactivate() == 1
    assert await named(store) == {run}
    assert await store.mending.reactivate() == 0, "it is done once"


async def test_a_sweep_that_is_cut_short_is_begun_again(store: Store, hand, monkeypatch: pytest.MonkeyPatch):
    run = await hand.begin(ONE)
    await hand.signal(run, Signal(SignalKind.DUE, "a"))
    await lose(store, hand.active)

    def dies(self: Batcher, *_: Any) -> Any:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(Batcher, "script", dies)
        with pytest.raises(ConnectionError):
            await store.mending.reactivate()
    assert await store.mending.reactivate() == 1
    assert await named(store) == {run}


async def test_a_second_loss_during_a_sweep_is_not_forgotten(
    store: Store, hand, monkeypatch: pytest.MonkeyPatch
):
    run = await hand.begin(ONE)
    await hand.signal(run, Signal(SignalKind.DUE, "a"))
    await lose(store, hand.active)
    whole = Batcher.script

    async def lost_again(self: Batcher, script: Any, keys: Any, args: Any) -> Any:
        if script.name == "reactivated":
            await lose(store, hand.active)
        return await whole(self, script, keys, args)

    with monkeypatch.context() as patch:
        patch.setattr(Batcher, "script", lost_again)
        await store.mending.reactivate()
    assert await named(store) == set()
    assert await store.mending.reactivate() == 1
    assert await named(store) == {run}


async def test_a_stream_that_is_as_it_was_asks_for_nothing(store: Store, hand):
    await hand.begin(ONE)
    await store.mending.reactivate()
    await store.stream(store.keys.active, "another").read(1, 1)
    assert await store.batcher.call("EXISTS", store.keys.reactivate) == 0
