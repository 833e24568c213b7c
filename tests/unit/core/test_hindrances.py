"""A launch that its executor cannot run: having no room is a queue, anything else is held against its start timeout."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.hindrances import Hindrance
from app.core.tasks import Task

NODE = {"a": {"type": "step", "timeout": {"start": "10s"}}}
MINUTE = 60_000


def admitted(world, nodes: dict[str, Any] = NODE):
    run = world(nodes)
    run.admit(run.ready[0])
    return run


def tell(run, code: str) -> None:
    before = Hindrance.of(run.nodes["a"].get("er"), 1, 0)
    run.nodes["a"]["er"] = before.followed_by(code, "as told", run.now).encode(Task("r", "a", 1, 0))


def come_due(run) -> None:
    run.now = max(run.now, run.timers["a"])
    run.fire("a")
    run.settle()


@pytest.mark.parametrize("code", ["Unschedulable", "QuotaExceeded", "ClusterUnavailable"])
def test_a_launch_that_the_cluster_has_no_room_for_or_cannot_take_is_not_given_up(world, code: str):
    run = admitted(world)
    tell(run, code)
    for _ in range(5):
        come_due(run)
    assert b"t" not in run.nodes["a"]


def test_its_start_timeout_begins_when_there_is_room(world):
    run = admitted(world)
    tell(run, "QuotaExceeded")
    run.now += 10 * MINUTE
    tell(run, "")
    since = run.now
    come_due(run)
    assert run.timers["a"] == since + 10_000
    come_due(run)
    assert run.nodes["a"]["t"] == b"start_timeout"


def test_the_wait_for_room_counts_as_time_in_the_queue(world):
    run = admitted(world, {"a": {"type": "step", "timeout": {"start": "10s", "queued": "5m"}}})
    tell(run, "Unschedulable")
    come_due(run)
    assert b"t" not in run.nodes["a"]
    come_due(run)
    assert run.nodes["a"]["t"] == b"queued_timeout"


def test_what_kept_a_launch_from_running_is_told_with_its_end(world):
    run = admitted(world)
    tell(run, "ImagePullBackOff")
    come_due(run)
    assert run.nodes["a"]["t"] == b"start_timeout"
    run.exit(("a", 1, 0), infra=True, type="lost")
    run.settle()
    assert run.error("a") == {
        "type": "start_timeout",
        "message": "stopped: start timeout (ImagePullBackOff: as told)",
    }


def test_pods_that_were_taken_away_use_up_the_budget_of_infrastructure_faults(world):
    run = admitted(world)
    run.nodes["a"]["dp"] = b",".join(b"u%d" % number for number in range(10))
    run.exit(("a", 1, 0), infra=True, type="lost", message="gone")
    run.settle()
    assert run.status("a") == "failed"
