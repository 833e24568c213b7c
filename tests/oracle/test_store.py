"""The real store against the rules: two workers that race and die, processes that repeat themselves, zombies."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from app.store.store import Store
from tests.oracle.plans import Taste, make_plan
from tests.oracle.rules import check, check_moves
from tests.oracle.stage import Driver
from tests.oracle.test_decide import explain

RUNS = int(os.environ.get("ORACLE_RUNS", "12"))
"""How many seeds are played."""
SEED = int(os.environ.get("ORACLE_SEED", "0"))
"""The first of them; a failure names the one to begin at."""


@pytest.mark.parametrize("seed", range(SEED, SEED + RUNS))
async def test_a_run_ends_as_the_rules_say_and_leaves_nothing(
    seed: int,
    stores: list[Store],
    publish: Callable[[dict[str, Any]], Awaitable[None]],
    key_check: None,
):
    """`ORACLE_SEED=N` begins at another seed, `ORACLE_RUNS=1` plays just that."""
    random = Random(seed)
    plan = make_plan(random, Taste(most_nodes=random.choice([3, 10, 25]), quick=True))
    await publish(plan.document)
    driver = Driver(stores, plan, random)
    await driver.start()
    await driver.play()
    wrong = check(plan, await driver.seen()) + check_moves(await driver.moves())
    assert not wrong, explain(plan, wrong)
    assert not await driver.leftovers()
