"""decide() against the rules for child runs, approvals, the cache, cancel, pause, the run's timeout and on_failure: fail."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.interrupted import check_story
from tests.oracle.kinds import Story, tell_story
from tests.oracle.plans import PARAMS, Drawn, Taste
from tests.oracle.rules import check_moves
from tests.oracle.teller import Telling
from tests.oracle.test_decide import EXAMPLES, RELAXED, SEED, commits_of, explain
from tests.unit.core.conftest import World, compiled


def play(story: Story, random: Random) -> None:
    """Run the story twice, the second time with the cache that the first one left, and judge how each ended."""
    document = {name: value for name, value in story.document.items() if name not in ("name", "nodes")}
    graph = compiled(story.nodes, **document)
    cache, known = dict[str, bytes](), frozenset[str]()
    for _ in range(2):
        telling = Telling(World(graph, PARAMS), story, random)
        telling.world.cache = dict(cache)
        telling.run()
        told = telling.told(known)
        wrong = check_story(story, told) + check_moves(telling.moves())
        assert not wrong, explain(story, wrong)
        if set(told.nodes.values()) != {"pending"}:
            telling.world.check_ended()
        cache = telling.world.cache
        known |= {name for name, node in story.nodes.items()
                  if "cache" in node and told.nodes[name] == "succeeded"}  # fmt: skip


@RELAXED
@given(st.data(), st.sampled_from([1, 2, 3, 7, 500]), st.integers(0, 1 << 32))
def test_small_stories_end_as_the_rules_say(data: st.DataObject, most: int, order: int):
    with commits_of(most):
        play(tell_story(Drawn(data), Taste(most_nodes=10)), Random(order))


@pytest.mark.parametrize("seed", range(SEED, SEED + max(EXAMPLES // 2, 1)))
def test_wide_stories_end_as_the_rules_say(seed: int):
    """Up to 60 nodes. `ORACLE_SEED=N` begins at another seed; a seed plays the same story in the same order again."""
    random = Random(seed)
    with commits_of(random.choice([1, 2, 7, 500])):
        play(tell_story(random, Taste(most_nodes=random.choice([5, 15, 60]))), random)
