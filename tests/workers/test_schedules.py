"""Schedules with real workers: ticks go on after kill -9 of every worker, each as one run (M8, fault row 28)."""

from __future__ import annotations

from typing import Any

MINUTE = 60_000
DOCUMENT: dict[str, Any] = {
    "name": "clockwork",
    "nodes": {"a": {"wait": {"duration": "0s"}}},
    "output": {"tick": "${{ params.tick }}"},
    "triggers": [
        {
            "schedule": {
                "name": "often",
                "cron": "* * * * *",
                "catch_up": "3m",
                "params": {"tick": "${{ event.time }}"},
            }
        }
    ],
}


async def dead_receipts(site) -> list[dict[str, Any]]:
    """All pages: each is a part of a scan of the server, which other tests share."""
    found: list[dict[str, Any]] = []
    params: dict[str, Any] = {"state": "dead", "limit": 1000}
    while True:
        page = (await site.http.get("/triggers", params=params)).json()
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


async def test_after_kill_9_of_every_worker_the_next_one_goes_on_after_the_last_tick(site):
    (await site.http.put("/workflows/clockwork", json=DOCUMENT)).raise_for_status()
    doomed = [await site.worker(), await site.worker()]
    for worker in doomed:
        worker.kill()
        worker.wait()

    async def fired() -> list[dict[str, Any]]:
        return (await site.http.get("/runs", params={"workflow": "clockwork"})).json()["items"]

    # as if they had been dead for six minutes: the time itself cannot be waited for. What they fired since then, where a minute
    # ended meanwhile, was not fired in that case.
    undone = {run["id"] for run in await fired()}
    away = await site.store.workers.now() - 6 * MINUTE
    await site.store.batcher.call("HSET", site.keys.ticks("clockwork"), "often", away)
    await site.store.batcher.call("ZADD", site.keys.schedules, away + MINUTE, "clockwork")
    await site.worker()
    await site.worker()

    async def ended() -> list[dict[str, Any]] | None:
        page = [run for run in await fired() if run["id"] not in undone]
        return page if len(page) >= 3 and all(run["status"] == "succeeded" for run in page) else None

    runs = await site.until(ended, "the ticks of the last three minutes have become runs")
    await site.http.delete("/workflows/clockwork")
    ticks = [(await site.http.get(f"/runs/{run['id']}")).json()["output"]["tick"] for run in runs]
    assert len(ticks) == len(set(ticks))
    (missed,) = [each for each in await dead_receipts(site) if each["workflow"] == "clockwork"]
    assert "were missed" in missed["reason"]
