"""Several executors behind one: who gets which node run, and that a full one does not hold up the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from app.core.graph import Graph, compile_graph
from app.core.nodetypes import NodeType
from app.core.placement import Placement
from app.core.pools import Lane, Waiting
from app.core.tasks import Task
from app.errors import NotFound
from app.settings import Settings
from app.store.store import Store
from workers.dispatch import Dispatcher
from workers.executors.base import Launch
from workers.executors.router import Router

PLACEMENT = Placement.parse("process,kubernetes", "*", {"local@1": NodeType(name="local", command=["x"])})
GRAPH: Graph = compile_graph(
    {
        "name": "w",
        "nodes": {"here": {"type": "local@1"}, "there": {"image": "x:1"}, "call": {"service": {"url": "x"}}},
    },
    version=1,
)


class Desk:
    """An executor with some places, which keeps what it is given."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken: list[str] = []
        self.on_free: Callable[[], None] = lambda: None

    def free(self) -> int:
        return self.places - len(self.taken)

    async def submit(self, launch: Launch) -> None:
        self.taken.append(launch.task.ref)

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None: ...


def task(ref: str, number: int = 1) -> Task:
    return Task("r1", ref, number, 0)


def launch(ref: str) -> Launch:
    return Launch(task(ref), GRAPH, GRAPH.node(ref), dict)


async def test_each_node_run_goes_to_its_executor():
    here, there = Desk(1), Desk(1)
    router = Router({"process": here, "kubernetes": there}, PLACEMENT)
    await router.submit(launch("there"))
    await router.submit(launch("here"))
    assert (here.taken, there.taken) == (["here"], ["there"])


async def test_what_no_executor_of_a_worker_runs_fails_for_good_and_says_why():
    router = Router({"process": Desk(1)}, PLACEMENT)
    with pytest.raises(NotFound, match="no executor 'kubernetes'"):
        await router.submit(launch("there"))
    with pytest.raises(NotFound, match="no executor 'service'"):
        await router.submit(launch("call"))


async def test_a_place_that_becomes_free_anywhere_is_heard():
    heard: list[bool] = []
    here, there = Desk(1), Desk(1)
    router = Router({"process": here, "kubernetes": there}, PLACEMENT)
    router.on_free = lambda: heard.append(True)
    there.on_free()
    here.on_free()
    assert heard == [True, True]


async def test_a_full_executor_does_not_hold_up_the_node_runs_of_another(store: Store, settings: Settings):
    """Asked for slots are only those that have a place; the verdicts say that nothing of it is ready any more."""
    here, there = Desk(1), Desk(5)
    dispatcher = Dispatcher(store, Router({"process": here, "kubernetes": there}, PLACEMENT), settings)
    tasks = [task("here", 1), task("here", 2), task("there", 1), task("there", 2)]
    lane = Lane("x:", GRAPH.workflow, 3)
    turn = dispatcher.choose(
        [Waiting(lane, 0, GRAPH.version, each) for each in tasks], GRAPH, {"here", "there"}
    )
    assert [each.waiting.task for each in turn.asking] == [tasks[0], tasks[2], tasks[3]]
    assert dispatcher.free() == 3, "places are promised until the verdicts are there"
    dispatcher.admitted(turn, [-1] * 3, GRAPH)
    assert dispatcher.free() == 6, "places that were not used are given back"
