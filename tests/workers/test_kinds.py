"""Child runs, approvals and run triggers outlive any worker: what they started is started once, what they wait for is heard."""

from __future__ import annotations

from typing import Any

GATED = {"type": "program", "config": {"gate": "go"}, "retry": {"initial": "10ms"}}


async def publish(site, name: str, nodes: dict[str, Any], **more: Any) -> None:
    for node in nodes.values():
        if node.get("type") == "program":
            node["config"] = {**node.get("config", {}), "dir": str(site.folder)}
    answer = await site.http.put(f"/workflows/{name}", json={"name": name, "nodes": nodes, **more})
    assert answer.is_success, answer.text


async def runs_of(site, workflow: str) -> list[dict[str, Any]]:
    answer = await site.http.get("/runs", params={"workflow": workflow, "limit": 1000})
    return answer.json()["items"]


async def waits(site, run: str, ref: str) -> dict[str, Any]:
    """Wait until a node run waits; its record."""

    async def there() -> dict[str, Any] | None:
        node = await site.node(run, ref)
        return node if node["status"] == "waiting" else None

    return await site.until(there, f"{ref} waits")


async def test_workers_that_are_killed_again_and_again_start_every_child_run_once(site):
    """And the run trigger that waits for the end of the parent fires once."""
    count = 60
    await publish(site, "each-one", {"work": {"type": "plain"}}, output={"n": "${{ params.n }}"})
    await publish(site, "after-all", {"work": {"type": "plain"}},
                  triggers=[{"run": {"name": "all", "workflow": "parent-of-many"}}])  # fmt: skip
    nodes = {
        "m": {"workflow": "each-one", "config": {"n": "${{ item.index }}"}, "map": {"over": {"count": count}}}
    }
    worker = await site.worker()
    (run,) = await site.fire(nodes, "parent-of-many")
    for share in (1, count // 4, count // 2):

        async def so_many(share: int = share) -> bool:
            return (await site.node(run, "m"))["items"]["succeeded"] >= share

        await site.until(so_many, f"{share} child runs ended")
        worker.kill()
        worker = await site.worker()
    assert await site.ended(run) == "succeeded"
    children = await runs_of(site, "each-one")
    assert sorted(child["parent"]["item"] for child in children) == list(range(count))
    assert {(child["status"], child["parent"]["run"]) for child in children} == {("succeeded", run)}
    assert [item["n"] for item in (await site.node(run, "m"))["metadata"]["items"]] == list(range(count))

    async def fired() -> bool:
        return any(each["ended"] for each in await runs_of(site, "after-all"))

    await site.until(fired, "the run trigger fired")
    assert len(await runs_of(site, "after-all")) == 1
    await site.check(run, *(child["id"] for child in children))


async def test_a_cancel_goes_down_though_the_worker_is_killed_in_its_middle(site):
    worker = await site.worker()
    await publish(site, "long", {"work": GATED})
    await publish(site, "middle", {"sub": {"workflow": "long"}})
    (run,) = await site.fire({"sub": {"workflow": "middle"}})
    await site.waits("work")
    middle = (await site.node(run, "sub"))["child"]
    long = (await site.node(middle, "sub"))["child"]
    assert (await site.http.post(f"/runs/{run}/cancel")).status_code == 202
    worker.kill()
    await site.worker()
    assert [await site.ended(each) for each in (run, middle, long)] == ["cancelled"] * 3
    await site.check(run, middle, long)


async def test_a_decision_that_nobody_is_there_to_hear_is_heard_by_the_next_worker(site):
    worker = await site.worker()
    (run,) = await site.fire(
        {"ask": {"approval": {"message": "?"}}, "b": {"type": "plain", "needs": ["ask"]}}
    )
    await waits(site, run, "ask")
    worker.kill()
    worker.wait()
    path = f"/runs/{run}/nodes/ask"
    assert (await site.http.post(f"{path}/approve", json={"comment": "yes"})).status_code == 202
    assert (await site.http.post(f"{path}/approve")).status_code == 202
    assert (await site.http.post(f"{path}/reject")).status_code == 409
    await site.worker()
    assert await site.ended(run) == "succeeded"
    assert (await site.node(run, "ask"))["metadata"]["comment"] == "yes"
    await site.check(run)


async def test_an_approval_whose_run_is_being_cancelled_waits_for_nobody(site):
    worker = await site.worker()
    (run,) = await site.fire({"ask": {"approval": {"message": "?"}}})
    await waits(site, run, "ask")
    worker.kill()
    worker.wait()
    assert (await site.http.post(f"/runs/{run}/cancel")).status_code == 202
    answer = await site.http.post(f"/runs/{run}/nodes/ask/approve")
    assert (answer.status_code, answer.json()["state"]) == (409, "running")
    await site.worker()
    assert await site.ended(run) == "cancelled"
    assert (await site.http.post(f"/runs/{run}/nodes/ask/approve")).status_code == 409
    await site.check(run)


async def test_a_workflow_that_starts_itself_ends_at_the_depth_limit_and_is_not_tried_again(site):
    await site.worker()
    (run,) = await site.fire({"again": {"workflow": "ouroboros"}}, "ouroboros")
    assert await site.ended(run) == "failed"
    found = await runs_of(site, "ouroboros")
    assert len(found) == 9
    node = await site.node(run, "again")
    assert (node["attempt"], node["error"]["type"]) == (1, "child_depth")
    await site.check(*(each["id"] for each in found))
