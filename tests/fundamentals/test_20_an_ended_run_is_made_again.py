"""An ended run never changes. A retry or a fork makes a new run that keeps what ended well, and runs the rest."""

from __future__ import annotations

import pytest

from app.core.retrying import Ask

CHAIN = {
    "read": {"type": "step"},
    "price": {"type": "step", "needs": ["read"]},
    "images": {"type": "step", "needs": ["read"]},
    "merge": {"type": "step", "needs": ["price", "images"]},
}


class Breaks:
    """A node program that fails until it is mended."""

    def __init__(self) -> None:
        self.broken = True
        self.ran: list[str] = []

    async def __call__(self, program):
        self.ran.append(program.task.ref)
        await (program.exit(42) if self.broken else program.succeed({"mended": program.task.ref}))


async def again(stage, run, ask):
    accepted = await stage.trigger("tutorial", origin=ask.encode())
    assert accepted.run is not None
    assert accepted.run != run
    return accepted.run


@pytest.fixture
def program(stage):
    made = Breaks()
    stage.plays("price", made)
    return made


async def test_a_retry_keeps_what_succeeded_and_runs_the_rest(stage, program):
    run = await stage.run_of(CHAIN)
    assert await stage.ended(run) == "failed"
    program.broken = False
    retried = await again(stage, run, Ask(run, "retry", "failed"))
    assert await stage.ended(retried) == "succeeded"
    nodes = {node["name"]: node for node in (await stage.store.runs.nodes(retried))[0]}
    assert {name: node["kept_from"] for name, node in nodes.items()} == {
        "read": run, "images": run, "price": None, "merge": None,
    }  # fmt: skip
    assert nodes["read"]["metadata"] == {"by": "read"}
    assert (await stage.store.runs.get(retried))["origin"] == {
        "run": run,
        "action": "retry",
        "from": "failed",
    }


async def test_the_ended_run_stays_as_it_is(stage, program):
    run = await stage.run_of(CHAIN)
    await stage.ended(run)
    before = await stage.statuses(run)
    program.broken = False
    assert await stage.ended(await again(stage, run, Ask(run, "retry", "failed"))) == "succeeded"
    assert await stage.statuses(run) == before
    assert before["merge"] == "blocked"


async def test_a_retry_of_a_retry_names_where_each_node_ran(stage, program):
    first = await stage.run_of(CHAIN)
    await stage.ended(first)
    second = await again(stage, first, Ask(first, "retry", "images"))
    assert await stage.ended(second) == "failed"
    program.broken = False
    third = await again(stage, second, Ask(second, "retry", "failed"))
    assert await stage.ended(third) == "succeeded"
    kept = {node["name"]: node["kept_from"] for node in (await stage.store.runs.nodes(third))[0]}
    assert kept == {"read": first, "images": second, "price": None, "merge": None}


async def test_a_retry_from_a_node_runs_it_and_all_below_it(stage, program):
    program.broken = False
    run = await stage.run_of(CHAIN)
    assert await stage.ended(run) == "succeeded"
    retried = await again(stage, run, Ask(run, "retry", "price"))
    assert await stage.ended(retried) == "succeeded"
    assert program.ran == ["price", "price"]
    kept = [node["name"] for node in (await stage.store.runs.nodes(retried))[0] if node["kept_from"]]
    assert kept == ["read", "images"]


async def test_a_retry_of_all_keeps_nothing(stage, program):
    program.broken = False
    run = await stage.run_of(CHAIN)
    await stage.ended(run)
    retried = await again(stage, run, Ask(run, "retry", "all"))
    assert await stage.ended(retried) == "succeeded"
    assert not any(node["kept_from"] for node in (await stage.store.runs.nodes(retried))[0])


async def test_a_fork_may_give_a_node_its_metadata(stage, program):
    run = await stage.run_of(CHAIN)
    await stage.ended(run)
    forked = await again(stage, run, Ask(run, "fork", "price", metadata=b'{"by": "hand"}'))
    assert await stage.ended(forked) == "succeeded"
    assert program.ran == ["price"]
    assert (await stage.node(forked, "price"))["metadata"] == {"by": "hand"}


async def test_a_fork_may_edit_the_config_of_a_node(stage):
    stage.by_hand("price")
    run = await stage.run_of({**CHAIN, "price": {**CHAIN["price"], "config": {"percent": 5}}})
    await (await stage.launched("price")).exit(42)
    assert await stage.ended(run) == "failed"
    edited = {"percent": 7, "run": "${{ run.workflow }}"}
    forked = await again(stage, run, Ask(run, "fork", "price", config=edited))
    program = await (await stage.launched("price")).start()
    assert program.started.config == {"percent": 7, "run": "tutorial"}
    await program.succeed()
    assert await stage.ended(forked) == "succeeded"


async def test_only_the_items_of_a_map_that_failed_run_again(stage, program):
    nodes = {
        "read": {"type": "step"},
        "price": {"type": "step", "needs": ["read"], "map": {"over": {"count": 5}, "max_parallel": 2}},
        "merge": {"type": "step", "needs": ["price"]},
    }

    async def odd_ones_fail(each):
        await (program(each) if int(each.task.ref[6:]) % 2 else each.succeed({"by": each.task.ref}))

    stage.plays("price", odd_ones_fail)
    run = await stage.run_of(nodes)
    assert await stage.ended(run) == "failed"
    program.broken, program.ran = False, []
    retried = await again(stage, run, Ask(run, "retry", "failed"))
    assert await stage.ended(retried) == "succeeded"
    assert sorted(program.ran) == ["price:1", "price:3"]
    price = await stage.node(retried, "price")
    assert price["items"] == {"count": 5, "pending": 0, "live": 0, "succeeded": 5, "failed": 0}
    by = [item.get("by") or item["mended"] for item in price["metadata"]["items"]]
    assert by == [f"price:{index}" for index in range(5)]
    items, _ = await stage.store.runs.items(retried, "price", None, 10, None)
    assert [item["kept_from"] for item in items] == [run, None, run, None, run]


async def test_the_items_of_a_kept_map_are_read_where_it_ran(stage, program):
    nodes = {
        "price": {"type": "step", "needs": ["split"]},
        "split": {"type": "step", "map": {"over": ["a", "b"]}},
    }
    run = await stage.run_of(nodes)
    assert await stage.ended(run) == "failed"
    program.broken = False
    retried = await again(stage, run, Ask(run, "retry", "failed"))
    assert await stage.ended(retried) == "succeeded"
    items, _ = await stage.store.runs.items(retried, "split", None, 10, None)
    assert [(item["metadata"], item["kept_from"]) for item in items] == [
        ({"by": "split:0"}, run),
        ({"by": "split:1"}, run),
    ]
    assert (await stage.node(retried, "split:1"))["kept_from"] == run
    assert [each["status"] for each in await stage.store.runs.attempts(retried, "split:1")] == ["succeeded"]


async def test_a_child_run_is_kept_with_its_node(stage, program, configure):
    await configure("child", {"work": {"type": "step"}}, output={"n": 7})
    nodes = {"sub": {"workflow": "child"}, "price": {"type": "step", "needs": ["sub"]}}
    run = await stage.run_of(nodes)
    assert await stage.ended(run) == "failed"
    program.broken = False
    retried = await again(stage, run, Ask(run, "retry", "failed"))
    assert await stage.ended(retried) == "succeeded"
    before, after = await stage.node(run, "sub"), await stage.node(retried, "sub")
    assert after["kept_from"] == run
    assert (after["child"], after["metadata"]) == (before["child"], {"n": 7})


async def test_the_edited_config_of_a_map_is_that_of_every_item(stage):
    stage.by_hand("price")
    nodes = {"price": {"type": "step", "map": {"over": ["a", "b"], "max_parallel": 1}, "config": {"x": 1}}}
    run = await stage.run_of(nodes)
    for _ in range(2):
        await (await stage.launched("price")).exit(42)
    assert await stage.ended(run) == "failed"
    forked = await again(stage, run, Ask(run, "fork", "price", config={"x": "${{ item }}"}))
    for item in ("a", "b"):
        program = await (await stage.launched("price")).start()
        assert program.started.config == {"x": item}
        await program.succeed()
    assert await stage.ended(forked) == "succeeded"
