"""Retry and fork against the rules: what is kept stays as it ended and is not launched, the rest ends as the design says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.graph import Graph
from app.core.retrying import Ask
from app.core.view import Changes, NodeView
from app.store.store import Store
from app.store.triggers import Trigger, read_trigger
from tests.oracle import memory, stage
from tests.oracle.again import Again, check_again, make_again
from tests.oracle.plans import PARAMS, Drawn, Plan, Taste, make_plan, metadata_of
from tests.oracle.rules import Seen, check_moves
from tests.oracle.test_decide import RELAXED, commits_of, explain
from tests.oracle.test_store import RUNS, SEED
from tests.unit.core.conftest import World, compiled


class Kept(World):
    """A run in memory that keeps node runs of another one."""

    def __init__(self, graph: Graph, params: Any, asked: Again, old: World) -> None:
        super().__init__(graph, params)
        self.run |= {
            "up": orjson.dumps({"of": "r0", "by": "retry", "at": asked.at}),
            "d": b"%d" % len(asked.kept),
        }
        self.old = {
            ref: {**old.nodes[ref], "kr": b"r0"} for ref in asked.kept | asked.items if ref in old.nodes
        }
        if asked.given:
            self.old[asked.at] = {"s": b"succeeded", "m": orjson.dumps(metadata_of(asked.at)), "kr": b"r1"}
        self.nodes |= {ref: dict(record) for ref, record in self.old.items()}
        maps = {ref.partition(":")[0] for ref in asked.items}
        self.begun = {name: len(asked.plan.nodes[name]["map"]["over"]) for name in maps}

    def view(self, ref: str) -> NodeView:
        if ref in self.begun and ref not in self.nodes:
            return NodeView(kept_items=self.begun[ref])
        return super().view(ref)

    def _write(self, changes: Changes) -> None:
        super()._write(changes)
        for name in self.begun.keys() & self.nodes.keys():
            self.nodes[name]["kn"] = b"%d" % self.begun[name]

    def check_history(self) -> None:
        """Nothing happened to what is kept, and the rest made moves of the table only."""
        assert {ref: self.nodes[ref] for ref in self.old} == self.old
        for ref in self.old:
            del self.nodes[ref]
        super().check_history()


def play(plan: Plan, dice: Any, order: Random, taste: Taste) -> None:
    """Run the plan, ask for something, run what that makes, and judge how it ended; again with what came of that."""
    document = plan.document
    graph = compiled(
        document.pop("nodes"), **{key: value for key, value in document.items() if key != "name"}
    )
    driver = memory.Driver(World(graph, PARAMS), plan, order)
    driver.run()
    before = driver.seen()
    asked = make_again(dice, plan, before, taste)
    if asked is None:
        return
    again = memory.Driver(Kept(graph, PARAMS, asked, driver.world), asked.plan, order)
    again.run()
    wrong = check_again(before, asked, again.seen()) + check_moves(again.moves())
    assert not wrong, (
        f"{explain(asked.plan, wrong)}\n{asked.at} {asked.given} kept {sorted(asked.kept | asked.items)}"
    )
    again.world.check_ended()


@RELAXED
@given(st.data(), st.sampled_from([1, 2, 3, 7, 500]), st.integers(0, 1 << 32))
def test_small_runs_are_made_again_as_the_rules_say(data: st.DataObject, most: int, order: int):
    dice, taste = Drawn(data), Taste(most_nodes=8)
    with commits_of(most):
        play(make_plan(dice, taste), dice, Random(order), taste)


@pytest.mark.parametrize("seed", range(SEED, SEED + RUNS))
def test_wide_runs_are_made_again_as_the_rules_say(seed: int):
    """`ORACLE_SEED=N` begins at another seed."""
    random, taste = Random(seed), Taste(most_nodes=150)
    with commits_of(random.choice([1, 2, 7, 500])):
        play(make_plan(random, taste), random, random, taste)


class Retrier(stage.Driver):
    """The real store, with a run made from an ended one; the trigger is in the hands of both workers."""

    async def start_from(self, asked: Again, run: str) -> None:
        given = orjson.dumps(metadata_of(asked.at)) if asked.given else None
        ask = Ask(run, "fork" if asked.at in asked.plan.nodes else "retry", asked.at, metadata=given)
        accepted = await self.store.triggers.accept(Trigger("w", 1, "retry", PARAMS, origin=ask.encode()))
        assert accepted.run is not None
        self.run = accepted.run
        (entry,) = await self.store.stream(self.store.keys.triggers, "worker-0").read(1, 1000)
        trigger = read_trigger(entry.id, entry.fields)
        graph = await self.store.graphs.get("w", 1)
        made: list[bool] = []
        for worker in self.workers:
            kept = await worker.store.takeover.take(trigger, graph)
            assert kept == len(asked.kept)
            placed = await worker.store.triggers.place_run(trigger, len(graph.nodes), None, kept)
            made.append(placed == "started")
        assert made == [True, False]


@pytest.mark.parametrize("seed", range(SEED, SEED + RUNS))
async def test_the_real_store_makes_a_run_again_as_the_rules_say(
    seed: int, stores: list[Store], publish: Callable[[dict[str, Any]], Awaitable[None]], key_check: None
):
    """`ORACLE_SEED=N` begins at another seed, `ORACLE_RUNS=1` plays just that."""
    random, taste = Random(seed), Taste(most_nodes=12, quick=True)
    plan = make_plan(random, taste)
    await publish(plan.document)
    first = stage.Driver(stores, plan, random)
    await first.start()
    await first.play()
    before: Seen = await first.seen()
    asked = make_again(random, plan, before, taste)
    if asked is None:
        return
    again = Retrier(stores, asked.plan, random)
    await again.start_from(asked, first.run)
    await again.play()
    wrong = check_again(before, asked, await again.seen()) + check_moves(await again.moves())
    assert not wrong, (
        f"{explain(asked.plan, wrong)}\n{asked.at} {asked.given} kept {sorted(asked.kept | asked.items)}"
    )
    assert not await again.leftovers()
