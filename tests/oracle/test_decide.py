"""decide() against the rules: whatever the order of events, every node run and the run end as the design says."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core import decide as decide_module
from app.core import round as round_module
from tests.oracle.memory import Driver
from tests.oracle.plans import PARAMS, Drawn, Plan, Taste, make_plan
from tests.oracle.rules import check, check_moves
from tests.unit.core.conftest import World, compiled

EXAMPLES = int(os.environ.get("ORACLE_EXAMPLES", "100"))
"""How many examples each test makes; thousands take minutes."""
SEED = int(os.environ.get("ORACLE_SEED", "0"))
"""The first seed of the wide graphs; a failure names the one to begin at."""
RELAXED = settings(
    deadline=None,
    max_examples=EXAMPLES,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@contextmanager
def commits_of(most: int) -> Generator[None]:
    """Let a commit touch at most so many node runs."""
    before = round_module.MAX_CHANGES
    round_module.MAX_CHANGES = decide_module.MAX_CHANGES = most
    try:
        yield
    finally:
        round_module.MAX_CHANGES = decide_module.MAX_CHANGES = before


def play(plan: Plan, random: Random) -> None:
    """Run the plan in some order, and judge how it ended."""
    document = plan.document
    graph = compiled(
        document.pop("nodes"), **{key: value for key, value in document.items() if key != "name"}
    )
    driver = Driver(World(graph, PARAMS), plan, random)
    driver.run()
    wrong = check(plan, driver.seen()) + check_moves(driver.moves())
    assert not wrong, explain(plan, wrong)
    driver.world.check_ended()


def explain(plan: Plan, wrong: list[str]) -> str:
    """What is wrong, with the nodes that are concerned."""
    nodes = [f"{name}: {node} {plan.fates.get(name, '')}" for name, node in plan.nodes.items()
             if any(f"{name} " in f"{line} " for line in wrong)]  # fmt: skip
    return "\n".join([*wrong, *nodes, str(plan.more)])


@RELAXED
@given(st.data(), st.sampled_from([1, 2, 3, 7, 500]), st.integers(0, 1 << 32))
def test_small_graphs_end_as_the_rules_say(data: st.DataObject, most: int, order: int):
    with commits_of(most):
        play(make_plan(Drawn(data), Taste(most_nodes=10)), Random(order))


@pytest.mark.parametrize("seed", range(SEED, SEED + max(EXAMPLES // 5, 1)))
def test_wide_graphs_end_as_the_rules_say(seed: int):
    """Up to 200 nodes, and more node runs by far. `ORACLE_SEED=N` begins at another seed."""
    random = Random(seed)
    with commits_of(random.choice([1, 2, 7, 500])):
        play(make_plan(random, Taste(most_nodes=200)), random)
