"""The real store against the rules for child runs, approvals, the cache, cancel, pause and on_failure: fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from app.settings import Settings
from app.store.store import Store
from tests.oracle.interrupted import check_story
from tests.oracle.kinds import tell_story
from tests.oracle.plans import Taste
from tests.oracle.rules import check_moves
from tests.oracle.storied import CHILD, OUTPUT, Storied
from tests.oracle.test_decide import explain
from tests.oracle.test_store import RUNS, SEED


@pytest.mark.parametrize("seed", range(SEED, SEED + max(RUNS // 2, 1)))
async def test_a_story_ends_as_the_rules_say_and_leaves_nothing(
    seed: int,
    stores: list[Store],
    settings: Settings,
    publish: Callable[[dict[str, Any]], Awaitable[None]],
    configure: Callable[..., Awaitable[int]],
    key_check: None,
):
    """Twice, the second time with the cache that the first one left. `ORACLE_SEED=N` begins at another seed."""
    random = Random(seed)
    story = tell_story(random, Taste(most_nodes=random.choice([3, 8, 16]), quick=True))
    story.more.pop("timeout", None)  # the clock is real
    await publish(story.document)
    await configure("child", CHILD, output=OUTPUT)
    known = frozenset[str]()
    for _ in range(2):
        driver = Storied(stores, story, random, settings)
        await driver.start()
        await driver.play()
        told = await driver.told(known)
        wrong = check_story(story, told) + check_moves(await driver.moves())
        assert not wrong, explain(story, wrong)
        known |= {name for name, node in story.nodes.items()
                  if "cache" in node and told.nodes[name] == "succeeded"}  # fmt: skip
