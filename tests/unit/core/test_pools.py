"""Whose turn it is: urgency, then the share of the workflow, then who waits longest; who lacks a slot is passed over."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.pools import STEP_MS, Choice, Lane, Line, Room, Waiting, choose, needs_of, pools_of
from app.core.tasks import Task

NOW = 10 * STEP_MS


def line(workflow: str, count: int = 9, *, needs: str = "step:", priority: int = 3, tag: int = 0, headed: int = NOW,
         since: int = NOW, whole: bool = True) -> Line:  # fmt: skip
    lane = Lane(needs, workflow, priority)
    heads = [Waiting(lane, since + i, 1, Task(f"r{workflow}{i}", "n", 1, 0)) for i in range(count)]
    return Line(lane, tag, headed, heads, whole)


def chosen(lines: list[Line], places: int = 64, **free: int) -> list[str]:
    return [each.lane.workflow for each in pick(lines, places, **free).taken]


def pick(lines: list[Line], places: int = 64, **free: int) -> Choice:
    return choose(lines, Room({"global": 1000, **free}, {}), {}, places, NOW)


def test_a_node_needs_the_pools_that_it_lists_and_those_of_everything_its_type_and_its_workflow():
    needs = needs_of("step@3", [("gpu", 2), ("db", 1)])
    assert pools_of(needs, "w") == (("db", 1), ("global", 1), ("gpu", 2), ("type:step", 1), ("workflow:w", 1))
    assert pools_of(needs_of(None, []), "w") == (("global", 1), ("workflow:w", 1))


def test_what_waits_is_read_back_as_it_was_written():
    waiting = Waiting(Lane("step:db,gpu*2", "w-1", 4), 1234, 7, Task("r1", "n:12", 2, 3))
    assert Waiting.parse(waiting.encode()) == waiting
    assert Lane.parse(waiting.lane.encode()) == waiting.lane


def test_the_most_urgent_goes_first():
    assert chosen([line("late", 1, priority=5), line("soon", 1, priority=1), line("usual", 1)]) == [
        "soon", "usual", "late",
    ]  # fmt: skip


@pytest.mark.parametrize(("minutes", "first"), [(0, "new"), (1, "new"), (2, "new"), (3, "old"), (4, "old")])
def test_a_head_becomes_one_step_more_urgent_with_every_minute(minutes: int, first: str):
    old = line("old", 1, priority=5, tag=1, headed=NOW - minutes * STEP_MS)
    assert chosen([old, line("new", 1, tag=0)])[0] == first


def test_what_waits_behind_a_head_is_not_urgent_yet():
    crowd = line("crowd", 9, headed=0, since=0)
    assert chosen([crowd, line("one", 1)])[:2] == ["crowd", "one"]


def test_within_a_workflow_who_waits_longest_goes_first():
    lines = [line("w", 1, needs="step:", since=9), line("w", 1, needs="other:", since=3)]
    assert [each.lane.type for each in pick(lines).taken] == ["other", "step"]


def test_a_head_that_lacks_a_slot_is_passed_over_with_its_lane_and_its_pool_is_told():
    choice = pick([line("a", needs="step:db"), line("b", 2)], db=1)
    assert [each.lane.workflow for each in choice.taken] == ["a", "b", "b"]
    assert choice.passed == [(Lane("step:db", "a", 3), "db")]


def test_a_slot_that_is_kept_for_another_is_not_taken():
    mine, other = line("a", 1, needs="step:db"), line("b", 1, needs="step:db")
    room = Room({"global": 9, "db": 1}, {"db": (1, other.heads[0].encode())})
    assert [each.lane.workflow for each in choose([mine, other], room, {}, 9, NOW).taken] == ["b"]


def test_what_does_not_fit_into_the_worker_holds_up_its_own_lane_only():
    choice = choose(
        [line("a"), line("b", 2)], Room({}, {}), {}, 9, NOW, lambda each: each.lane.workflow == "b"
    )
    assert [each.lane.workflow for each in choice.taken] == ["b", "b"]


def test_a_lane_that_was_not_read_to_its_end_stops_the_choice():
    choice = pick([line("a", 2, whole=False), line("b", 9)])
    assert (choice.more, [each.lane.workflow for each in choice.taken][:3]) == (True, ["a", "b", "a"])


def test_a_workflow_that_takes_more_slots_at_once_gets_fewer_turns():
    lines = [line("big", 9, needs="step:gpu*3"), line("small", 9, needs="step:gpu")]
    turns = Counter(chosen(lines, gpu=12))
    assert (turns["big"], turns["small"]) == (2, 6)


@given(st.lists(st.integers(1, 30), min_size=2, max_size=12), st.integers(1, 64))
def test_of_workflows_that_wait_none_is_more_than_one_turn_ahead_of_another(waiting: list[int], places: int):
    lines = [line(f"w{i}", count) for i, count in enumerate(waiting)]
    turns = Counter(chosen(lines, places))
    hungry = [turns[f"w{i}"] for i, count in enumerate(waiting) if turns[f"w{i}"] < count]
    if hungry:
        assert max(turns.values()) <= min(hungry) + 1


@given(st.integers(1, 10_000))
def test_a_crowd_delays_the_one_of_another_workflow_by_one_turn(crowd: int):
    assert "one" in chosen([line("crowd", min(crowd, 64), whole=crowd <= 64), line("one", 1)], 2)
