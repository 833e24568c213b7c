"""A map is one node whose items are node runs of their own: each with its slot, its attempts and its metadata."""

from __future__ import annotations


def mapped(**more):
    return {
        "split": {"type": "step"},
        "price": {"type": "step", "needs": ["split"], "map": {"over": "nodes.split.metadata.parts", **more}},
        "merge": {"type": "step", "needs": ["price"]},
    }


async def splits(program):
    await program.succeed({"parts": [{"uri": f"file:part-{i}"} for i in range(3)]})


async def test_every_item_of_the_list_is_a_node_run(stage):
    stage.plays("split", splits)
    run = await stage.run_of(mapped())
    assert await stage.ended(run) == "succeeded"
    price = await stage.node(run, "price")
    assert price["items"] == {"count": 3, "pending": 0, "live": 0, "succeeded": 3, "failed": 0}
    assert price["metadata"]["items"] == [{"by": f"price:{i}"} for i in range(3)]


async def test_an_item_gets_its_element_of_the_list(stage):
    stage.plays("split", splits)
    stage.by_hand("price")
    run = await stage.run_of(mapped(max_parallel=1))
    for index in range(3):
        program = await (await stage.launched("price")).start()
        assert program.task.ref == f"price:{index}"
        assert program.started.item == {"uri": f"file:part-{index}"}
        await program.succeed()
    assert await stage.ended(run) == "succeeded"


async def test_a_share_of_the_items_may_fail(stage):
    async def second_fails(program):
        await (program.exit(42) if program.task.ref == "price:1" else program.succeed())

    stage.plays("split", splits)
    stage.plays("price", second_fails)
    run = await stage.run_of(mapped(tolerate=0.4))
    assert await stage.ended(run) == "succeeded"
    failed, _ = await stage.store.runs.items(run, "price", "failed", 10, None)
    assert [item["item"] for item in failed] == [1]
