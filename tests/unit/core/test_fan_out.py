"""A commit touches a bounded number of node runs, whatever the width of a graph."""

from __future__ import annotations

from app.core.round import MAX_CHANGES

WIDE = 2_000
SLACK = 2
"""A decision that has begun when the budget is used up is still made whole: a node run, and its map."""


def fan(width: int, **more):
    children = {f"c{i}": {"type": "step", "needs": ["root"]} for i in range(width)}
    return {"root": {"type": "step", **more}, **children, "end": {"type": "step", "needs": list(children)}}


def test_two_thousand_children_start_in_as_many_commits_as_their_number_needs(world):
    run = world(fan(WIDE))
    before = run.commits
    run.finish("root")
    assert len(run.ready) == WIDE
    assert run.commits - before == -(-(WIDE + 1) // MAX_CHANGES)
    assert run.largest <= MAX_CHANGES + SLACK


def test_two_thousand_children_that_end_at_once_are_a_few_commits(world):
    run = world(fan(WIDE))
    run.finish("root")
    before = run.commits
    for index in range(WIDE):
        run.launch(f"c{index}")
        run.output(f"c{index}", None)
        run.finalize(f"c{index}")
    run.settle()
    assert run.status("end") == "ready"
    assert run.commits - before <= WIDE // MAX_CHANGES + 1


def test_two_thousand_skipped_children_are_bounded_commits_too(world):
    run = world(fan(WIDE, when="false"))
    assert run.result == "succeeded"
    assert run.largest <= MAX_CHANGES + SLACK
    assert run.commits <= 2 * WIDE // MAX_CHANGES + 3
    run.check_ended()


def test_two_thousand_roots_start_in_bounded_commits(world):
    run = world({f"r{i}": {"type": "step"} for i in range(WIDE)})
    assert len(run.ready) == WIDE
    assert run.largest <= MAX_CHANGES + SLACK
    assert run.commits == WIDE // MAX_CHANGES


def test_two_thousand_items_of_a_map_start_in_bounded_commits(world):
    run = world({"a": {"type": "step", "map": {"over": list(range(WIDE))}}})
    assert len(run.ready) == WIDE
    assert run.largest <= MAX_CHANGES + SLACK
    assert run.commits <= WIDE // MAX_CHANGES + 2


def test_a_blocked_chain_of_two_thousand_ends_in_bounded_commits(world):
    nodes = {"n0": {"type": "step"}} | {
        f"n{i}": {"type": "step", "needs": [f"n{i - 1}"]} for i in range(1, WIDE)
    }
    run = world(nodes)
    run.fail("n0")
    assert run.result == "failed"
    assert run.largest <= MAX_CHANGES + SLACK
    run.check_ended()
