"""Launches, leases and timers: what workers hold, and how others take it over."""

from __future__ import annotations

import asyncio

import pytest

from app.core.signals import Signal, SignalKind, decode, exit_of
from app.core.tasks import Task
from app.store.store import Store
from app.store.workers import Lived, Workers

ONE = {"a": {"type": "step"}}
RECORD = {"pid": 1}


@pytest.fixture
async def task(hand) -> Task:
    """Admitted, and not yet submitted."""
    run = await hand.begin(ONE)
    task = Task(run, "a", 1, 0)
    assert await hand.admit(task) == [1]
    return task


async def test_a_launch_that_has_a_process_is_no_submission_any_more(store: Store, task: Task):
    assert await store.workers.is_launching(task)
    assert await store.workers.launched(task, "host", 60_000, RECORD)
    assert not await store.workers.is_launching(task)
    assert await store.workers.processes("host") == {task: RECORD}


async def test_the_run_timeout_begins_with_the_launch(store: Store, task: Task):
    before = await store.workers.now()
    await store.workers.launched(task, "host", 120_000, RECORD)
    due = float(await store.batcher.call("ZSCORE", store.keys.timers, task.timer))
    assert before + 120_000 <= due <= await store.workers.now() + 120_000


async def test_a_launch_of_an_attempt_that_is_over_must_be_stopped(store: Store, task: Task):
    for stale in (task._replace(attempt=2), task._replace(launch=1)):
        assert await store.workers.launched(stale, "host", 60_000, RECORD) is False
    assert await store.workers.processes("host") == {}


async def test_a_fast_node_that_has_succeeded_before_its_launch_is_recorded_is_not_stopped(
    store: Store, hand, task: Task
):
    from app.store.nodes import NodeCall, StepReport

    call = NodeCall(task.run, "a", 1)
    await store.nodes.start(call, "pod", 60_000, [])
    await store.nodes.checkpoint(
        call, 1, [StepReport(step) for step in ("configure", "execute", "output", "finalize")]
    )
    await hand.decide()
    assert await store.workers.launched(task, "host", 60_000, RECORD) is True
    assert await store.workers.processes("host") == {}


async def test_a_submission_under_lease_is_left_alone(store: Store, task: Task):
    assert await store.workers.expired_launches(10) == []


async def test_a_submission_whose_lease_has_ended_is_taken_over_once(store: Store, task: Task):
    await store.batcher.call("ZADD", store.keys.launches, 1, task.encode())
    taken = await asyncio.gather(*(store.workers.expired_launches(10) for _ in range(5)))
    assert [one for some in taken for one in some] == [task]


async def test_renewing_keeps_a_submission_and_never_makes_one(store: Store, task: Task):
    await store.batcher.call("ZADD", store.keys.launches, 1, task.encode())
    await store.workers.renew_launches([task, task._replace(ref="b")])
    assert await store.workers.expired_launches(10) == []
    assert await store.batcher.call("ZCARD", store.keys.launches) == 1


async def test_the_end_of_a_launch_is_a_signal(store: Store, hand, task: Task):
    await store.workers.exited(task.run, exit_of(task, code=1))
    assert len(await hand.inbox(task.run)) == 1


@pytest.mark.parametrize("other", [{"attempt": 2}, {"launch": 1}])
async def test_the_end_of_an_earlier_launch_is_none(store: Store, hand, task: Task, other: dict[str, int]):
    await store.workers.exited(task.run, exit_of(task._replace(**other), code=1))
    assert await hand.inbox(task.run) == []


async def test_the_end_of_a_launch_whose_final_checkpoint_is_known_is_none(store: Store, hand):
    run = await hand.begin(ONE)
    await hand.finish(run, "a")
    await store.workers.exited(run, exit_of(Task(run, "a", 1, 0), code=0))
    assert len(await hand.inbox(run)) == 1, "the final checkpoint said it all"


LONG = 10 * 365 * 24 * 3600 * 1000
"""ms: before any store of a test began."""


async def up(store: Store) -> None:
    """The store is there for more than the second in which its beginning is not known exactly."""
    info = b"uptime_in_seconds:0"
    while b"uptime_in_seconds:0" in info or b"uptime_in_seconds:1\r" in info:
        info = await store.batcher.call("INFO", "server")


@pytest.mark.parametrize(
    ("lived", "output", "kind"),
    [
        (Lived(LONG, 0), None, "rewound"),
        (Lived(LONG, LONG - 1), None, "rewound"),
        (Lived(LONG, 0), "1", ""),
        (Lived(0, 0), None, ""),
        (None, None, ""),
    ],
)
async def test_the_end_of_a_process_that_is_older_than_the_store_is_in_doubt_unless_it_left_its_output(
    store: Store, hand, task: Task, lived: Lived | None, output: str | None, kind: str
):
    await up(store)
    await store.workers.exited(task.run, exit_of(task, code=3, output=output), lived)
    (raw,) = await hand.inbox(task.run)
    assert decode(raw).type == kind


async def test_exit_0_long_after_the_store_began_is_in_no_doubt(store: Store, hand, task: Task, monkeypatch):
    """A process that the store had forgotten would have been refused until then."""
    await up(store)
    monkeypatch.setattr("app.store.workers.LINGER_MS", 0)
    await store.workers.exited(task.run, exit_of(task, code=0), Lived(LONG, 0))
    (raw,) = await hand.inbox(task.run)
    assert decode(raw).type == ""


async def test_a_timer_that_is_due_becomes_one_signal_whoever_fires_it(store: Store, hand):
    run = await hand.begin({"a": {"wait": {"duration": "30d"}}})
    await store.batcher.call("ZADD", store.keys.timers, 5, f"{run}|a")
    (due,), coming = await store.engine.due_timers(10)
    assert (due, coming) == ((run, "a", "5"), None)
    fired = await asyncio.gather(*(store.engine.fire(*due, Signal(SignalKind.DUE, "a")) for _ in range(5)))
    assert sum(fired) == 1
    assert len(await hand.inbox(run)) == 1


async def test_a_timer_that_was_moved_meanwhile_is_not_fired(store: Store, hand):
    run = await hand.begin({"a": {"wait": {"duration": "30d"}}})
    assert await store.engine.fire(run, "a", "5", Signal(SignalKind.DUE, "a")) is False
    assert await hand.inbox(run) == []
    assert await store.batcher.call("ZCARD", store.keys.timers) == 1


async def test_the_next_timer_is_told_by_the_clock_of_the_server(store: Store, hand):
    await hand.begin({"a": {"wait": {"duration": "90s"}}})
    due, seconds = await store.engine.due_timers(10)
    assert due == []
    assert seconds is not None
    assert 80 < seconds <= 90


async def test_a_worker_is_live_while_it_says_so(store: Store):
    await store.workers.announce("w1", {"host": "h"})
    assert await store.workers.live() == {"w1": {"host": "h"}}
    await store.workers.withdraw("w1")
    assert await store.workers.live() == {}


async def test_a_worker_that_is_silent_is_dead_and_forgotten(store: Store):
    await store.workers.announce("w1", {"host": "h"})
    await store.batcher.call("ZADD", store.keys.workers, 1, "w1")
    assert await store.workers.live() == {}
    await store.workers.bury(2)
    assert await store.batcher.call("HGETALL", store.keys.worker_info) == []


async def test_states_tell_whether_a_process_is_still_wanted(store: Store, task: Task):
    gone = Task("r0", "a", 1, 0)
    assert await store.workers.states([task, gone]) == [
        ("starting", 1, 0, "", False),
        (None, 0, 0, "", False),
    ]


async def test_only_runs_that_exist_have_a_version(store: Store, task: Task):
    assert await store.workers.versions([task.run, "r0"]) == {task.run: ("w", 1)}


async def test_leases_are_as_long_as_the_settings_say(store: Store, task: Task):
    await Workers(store.batcher, store.keys, lease_ms=0).renew_launches([task])
    assert await Workers(store.batcher, store.keys, lease_ms=1).expired_launches(5) == [task]
