"""Failed records are done again by real node processes, whoever is killed on the way: each once, and the results are whole."""

from __future__ import annotations

import os
import signal
from typing import Any

BAD = [3, 4, 17, 29]
PICKY: dict[str, Any] = {"type": "picky", "tolerate": 0.2, "config": {"count": 30}}


def seen(site, node: str, run: str) -> list[int]:
    return [line["n"] for line in site.diary(node, run=run)]


def turns_down(site, *numbers: int) -> None:
    (site.folder / "bad").write_text(" ".join(map(str, numbers)))


async def retried(site, run: str) -> str:
    answer = await site.http.post(f"/runs/{run}/retry", json={"from": "failed"})
    assert answer.status_code == 202, answer.text
    return answer.json()["run"]


async def calm(site) -> str:
    """The digest of what is written where nothing fails."""
    turns_down(site)
    (run,) = await site.fire({"price": {**PICKY}})
    assert await site.ended(run) == "succeeded"
    return (await site.node(run, "price"))["metadata"]["digest"]


async def test_only_the_failed_records_are_done_and_what_is_below_runs_again(working_site):
    site = working_site
    digest = await calm(site)
    turns_down(site, *BAD)
    nodes = {"first": {"type": "program"}, "price": {**PICKY, "needs": ["first"]}}
    (run,) = await site.fire({**nodes, "last": {"type": "plain", "needs": ["price"]}})
    assert await site.ended(run) == "succeeded"
    assert (await site.node(run, "price"))["failed_records"] == 4
    turns_down(site, 17)
    second = await retried(site, run)
    assert await site.ended(second) == "succeeded"
    assert seen(site, "price", second) == BAD
    price = await site.node(second, "price")
    assert (price["redo_of"], price["failed_records"]) == (run, 1)
    assert price["metadata"]["count"] == 29
    assert (await site.node(second, "first"))["kept_from"] == run
    assert (await site.node(second, "last"))["kept_from"] is None
    turns_down(site)
    third = await retried(site, second)
    assert await site.ended(third) == "succeeded"
    assert seen(site, "price", third) == [17]
    assert (await site.node(third, "price"))["metadata"] == {"count": 30, "failed": 0, "digest": digest}
    await site.check(run, second, third)


async def test_a_map_redoes_the_records_of_its_items(working_site):
    site = working_site
    turns_down(site, *BAD)
    node = {**PICKY, "config": {"count": "${{ item }}"}, "map": {"over": [20, 2, 30]}}
    (run,) = await site.fire({"each": {**node, "tolerate": 0.2}})
    assert await site.ended(run) == "succeeded"
    turns_down(site)
    preview = await site.http.post(f"/runs/{run}/retry?dry_run=true", json={"from": "failed"})
    (item,) = preview.json()["items"]
    assert (item["why"], item["items"], item["failed_records"]) == ("records", {"count": 3, "kept": 1}, 7)
    second = await retried(site, run)
    assert await site.ended(second) == "succeeded"
    assert sorted(seen(site, "each", second)) == sorted([3, 4, 17, *BAD])
    items = (await site.node(second, "each"))["metadata"]["items"]
    assert [each["count"] for each in items] == [20, 2, 30]
    await site.check(run, second)


async def test_node_and_worker_killed_in_the_middle_of_a_redo(site):
    """Each failed record is done once; only the one it died in is done again."""
    doomed = await site.worker()
    digest = await calm(site)
    turns_down(site, *BAD)
    (run,) = await site.fire({"price": {**PICKY, "config": {"count": 30, "hold": 17}}})
    assert await site.ended(run) == "succeeded"
    turns_down(site)
    second = await retried(site, run)

    async def waits() -> bool:
        progress = (await site.node(second, "price"))["progress"]
        return bool(site.diary("price", run=second, n=17)) and progress == {"done": 2, "total": 4}

    await site.until(waits, "the redo is at its third record, and the position before it is kept")
    (line,) = site.diary("price", run=second, n=17)
    os.kill(line["pid"], signal.SIGKILL)
    doomed.kill()
    doomed.wait()
    site.open("go")
    await site.worker()
    assert await site.ended(second) == "succeeded"
    assert seen(site, "price", second) == [3, 4, 17, 17, 29]
    assert (await site.node(second, "price"))["metadata"] == {"count": 30, "failed": 0, "digest": digest}
    assert (await site.http.get(f"/runs/{second}/nodes/price/records")).json()["items"] == []
    await site.check(run, second, faults=True)
