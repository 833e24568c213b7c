"""What a cluster tells of a launch: why it does not run, and pods that were taken away (B4, fault row 25)."""

from __future__ import annotations

import orjson
import pytest

from app.core.hindrances import Hindrance
from app.core.tasks import Task

TASK = Task("r1", "price", 1, 0)


@pytest.fixture
async def put(store):
    """Writes fields of the node run."""

    async def write(**fields):
        flat = [part for pair in fields.items() for part in pair]
        await store.batcher.call("HSET", store.keys.node("r1", "price"), *flat)

    await write(s="starting", a="1", l="0", h="5")
    return write


async def field(store, name: str) -> bytes | None:
    return await store.batcher.call("HGET", store.keys.node("r1", "price"), name)


async def test_a_reason_keeps_since_when_it_holds_and_another_one_begins_anew(store, put):
    assert await store.hindrances.tell(TASK, "Unschedulable", "0/1 nodes", 100)
    assert await store.hindrances.tell(TASK, "Unschedulable", "0/2 nodes", 200)
    found = Hindrance.of(await field(store, "er"), 1, 0)
    assert found == Hindrance("Unschedulable", "0/2 nodes", 100, 0)
    assert await store.hindrances.tell(TASK, "", "", 300)
    assert Hindrance.of(await field(store, "er"), 1, 0) == Hindrance("", "", 300, 300)


async def test_since_when_a_reason_holds_is_known_to_whoever_tells_it_next(store, put):
    """Another worker may watch the cluster by then."""
    assert await store.hindrances.tell(TASK, "MachineLost", "", 100) == 100
    assert await store.hindrances.tell(TASK, "MachineLost", "", 900) == 100


async def test_of_an_earlier_launch_nothing_is_told(store, put):
    assert not await store.hindrances.tell(TASK._replace(launch=1), "Unschedulable", "", 100)
    assert await store.hindrances.disrupted(TASK._replace(attempt=2), "u1") == -1
    await put(s="succeeded")
    assert not await store.hindrances.tell(TASK, "Unschedulable", "", 100)
    assert await store.hindrances.disrupted(TASK, "u1") == -1


async def test_a_pod_that_was_taken_away_counts_once(store, put):
    assert [await store.hindrances.disrupted(TASK, uid) for uid in ("u1", "u1", "u2")] == [1, 1, 2]


async def test_a_launch_that_lost_its_pod_is_not_held_to_its_heartbeat(store, put):
    await store.hindrances.tell(TASK, "Disrupted", "", 100)
    assert await field(store, "h") == b"5"
    await put(s="running", r="7")
    await store.hindrances.tell(TASK, "Disrupted", "", 100)
    assert int(await field(store, "h") or 0) > 5


def test_what_cannot_be_read_as_of_this_launch_hinders_nothing():
    assert Hindrance.of(None, 1, 0) == Hindrance()
    assert Hindrance.of(orjson.dumps({"code": "Unschedulable", "a": 1, "l": 1}), 1, 0) == Hindrance()
