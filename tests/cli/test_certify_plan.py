"""The plan of a certification: which processes die, made of what an unharmed run said and of a seed."""

from __future__ import annotations

import pytest

from app.cli.certify.moments import POSITION, Case, Entry, Moment, plan
from app.cli.certify.outcome import Difference, Outcome, differences
from app.cli.certify.trial import Trial

POSITIONS = 6
SAID = [
    Entry("configure", 0, 0.1),
    *(Entry(POSITION, number, 0.1 + number / 10) for number in range(1, POSITIONS + 1)),
    Entry("execute", 0, 0.8),
    Entry("output", 0, 0.9),
    Entry("finalize", 0, 1.0),
]


def texts(cases: list[Case]) -> list[str]:
    return [case.text for case in cases]


def test_every_step_dies_on_both_sides_of_its_end_and_one_process_is_held():
    sides = [f"{side} {step}" for step in ("configure", "execute", "output", "finalize")
             for side in ("before", "after")]  # fmt: skip
    assert texts(plan(SAID, 1.0, 0, 1)) == [*sides, "held before position 3"]


def test_the_same_seed_gives_the_same_places_and_another_one_others():
    first, again, other = (texts(plan(SAID, 1.0, 20, seed)) for seed in (4, 4, 5))
    assert first == again != other


def test_random_deaths_come_in_the_order_of_the_stream():
    for case in plan(SAID, 1.0, 200, 9)[9:]:
        numbers = [moment.number + (moment.wait is not None) for moment in case.moments]
        assert 1 <= len(numbers) <= 3
        assert numbers == sorted(set(numbers))
        assert all(1 <= number <= POSITIONS for number in numbers)


def test_what_dies_on_its_way_has_its_share_of_the_time_that_it_took_unharmed():
    waits = [moment for case in plan(SAID, 1.0, 200, 9) for moment in case.moments if moment.wait is not None]
    assert waits
    assert [moment.wait for moment in waits] == pytest.approx([moment.share * 0.1 for moment in waits])


def test_a_node_without_positions_dies_inside_execute_all_the_same():
    said = [entry for entry in SAID if entry.name != POSITION]
    cases = plan(said, 1.0, 3, 1)
    assert texts(cases)[8:] == ["held before execute", *["before any position"] * 3]
    assert all(case.moments[0].is_at("configure", 0) for case in cases[9:])


def test_a_program_without_the_protocol_dies_at_moments_of_its_time_only():
    cases = plan([], 2.0, 5, 1)
    assert len(cases) == 5
    assert all(0.1 <= (case.moments[0].wait or 0) <= 1.9 for case in cases)


ENDS = [{"step": "execute"}, {"step": "output", "metadata": {}}, {"step": "finalize"}]


def step(seq: int) -> dict[str, object]:
    return {"step": "execute", "seq": seq, "data": seq}


@pytest.mark.parametrize(
    ("moment", "taken"),
    [
        (Moment("execute", before=True), 0),
        (Moment("execute"), 1),
        (Moment("output", before=True), 1),
        (Moment("finalize"), 3),
        (Moment("configure"), None),
    ],
)
def test_a_call_is_cut_at_its_moment(moment: Moment, taken: int | None):
    due = Trial(Case((moment,))).due(ENDS)
    assert (None if due is None else due[0]) == taken


def test_positions_are_counted_over_calls_and_processes():
    trial = Trial(Case((Moment(POSITION, 3),)))
    trial.accepted([{"step": "configure"}, step(1)])
    assert trial.due([step(2)]) is None
    assert trial.due([step(2), step(3), step(4)]) == (2, trial.case.moments[0])


def test_a_place_inside_execute_that_does_not_come_is_at_its_end():
    trial = Trial(Case((Moment(POSITION, 9),)))
    trial.accepted([step(1)])
    assert trial.due([step(2), *ENDS]) == (1, trial.case.moments[0])


def outcome(metadata: object, **more: object) -> Outcome:
    given: dict[str, object] = {"status": "succeeded", "error": "", "files": {}, "failed": [], **more}
    return Outcome(metadata=metadata, **given)  # pyright: ignore


def test_metadata_is_compared_part_by_part():
    found = differences(outcome({"a": {"b/c": [1, 2]}, "d": 1}), outcome({"a": {"b/c": [1, 3]}, "e": 1}))
    assert [(each.where, each.expected, each.found) for each in found] == [
        ("/a/b~1c/1", 2, 3),
        ("/d", 1, "nothing"),
        ("/e", "nothing", 1),
    ]
    assert differences(outcome({"a": 1}), outcome({"a": True})) == [Difference("metadata", "/a", 1, True)]


def test_failed_records_are_compared_by_their_index():
    one, other = ({"index": 2, "type": "ValueError", "message": text} for text in ("bad", "worse"))
    assert differences(outcome({}, failed=[one]), outcome({}, failed=[other])) == [
        Difference("record", "2", one, other)
    ]
    assert differences(outcome({}, failed=[one]), outcome({})) == [Difference("record", "2", one, "nothing")]
    assert differences(outcome({}, failed=[one]), outcome({}, failed=[dict(one)])) == []


def test_a_run_that_ends_otherwise_has_that_one_difference():
    found = differences(outcome({"a": 1}), outcome(None, status="failed", error="exit: exit code 1"))
    assert found == [Difference("status", "", "succeeded", "failed: exit: exit code 1")]
