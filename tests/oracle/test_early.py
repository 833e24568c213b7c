"""Cancel, pause and on_failure against the rules: each node run ends once, as the design says."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.early import Controlled, check_early
from tests.oracle.plans import PARAMS, Drawn, Plan, Taste, make_plan
from tests.oracle.rules import check, check_moves
from tests.oracle.test_decide import EXAMPLES, RELAXED, SEED, commits_of, explain
from tests.unit.core.conftest import World, compiled


def played(plan: Plan, order: Random, *, cancels: bool, pauses: bool) -> Controlled:
    document = plan.document
    graph = compiled(
        document.pop("nodes"), **{key: value for key, value in document.items() if key != "name"}
    )
    driver = Controlled(World(graph, PARAMS), plan, order, cancels=cancels, pauses=pauses)
    driver.run()
    return driver


def judge(plan: Plan, order: Random, *, cancels: bool, fails: bool, pauses: bool) -> None:
    if fails:
        plan.more["on_failure"] = "fail"
    driver = played(plan, order, cancels=cancels, pauses=pauses)
    seen = driver.seen()
    early = cancels or fails
    found = check_early(plan, seen, cancelled=driver.cancelled) if early else check(plan, seen)
    wrong = found + check_moves(driver.moves())
    assert not wrong, explain(plan, wrong)
    if seen.run != "cancelled" or int(driver.world.run["d"]):  # one that had not begun has no node runs
        driver.world.check_ended()


ORDERS = (st.data(), st.sampled_from([1, 2, 7, 500]), st.integers(0, 1 << 32))


@RELAXED
@given(*ORDERS)
def test_a_paused_run_ends_as_any_other(data: st.DataObject, most: int, order: int):
    with commits_of(most):
        judge(
            make_plan(Drawn(data), Taste(most_nodes=8)),
            Random(order),
            cancels=False,
            fails=False,
            pauses=True,
        )


@RELAXED
@given(*ORDERS)
def test_a_cancelled_run_ends_as_the_rules_say(data: st.DataObject, most: int, order: int):
    with commits_of(most):
        judge(
            make_plan(Drawn(data), Taste(most_nodes=8)),
            Random(order),
            cancels=True,
            fails=False,
            pauses=False,
        )


@RELAXED
@given(*ORDERS)
def test_the_first_failure_stops_a_run_that_says_so(data: st.DataObject, most: int, order: int):
    with commits_of(most):
        judge(
            make_plan(Drawn(data), Taste(most_nodes=8)),
            Random(order),
            cancels=False,
            fails=True,
            pauses=False,
        )


@pytest.mark.parametrize("seed", range(SEED, SEED + max(EXAMPLES // 5, 1)))
def test_wide_graphs_under_everything_at_once(seed: int):
    """`ORACLE_SEED=N` begins at another seed."""
    random = Random(seed)
    with commits_of(random.choice([1, 2, 7, 500])):
        plan = make_plan(random, Taste(most_nodes=120))
        cancels, fails = random.random() < 0.5, random.random() < 0.5
        judge(plan, random, cancels=cancels, fails=fails, pauses=True)
