"""Fault row 13: the store comes back in an older state while processes of the lost future live, or have ended.

A process is never started beside another of its launch: what lives is adopted, and what it left behind is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.errors import StoreUnavailable
from tests.rewinding import remember, rewind
from workers.executors.launchfiles import process_start
from workers.executors.process import host


async def back(site: Any) -> None:
    """Our own connection is made again."""

    async def answers() -> bool:
        try:
            return await site.store.workers.now() > 0
        except StoreUnavailable:
            return False

    await site.until(answers, "the store answers")


async def test_processes_of_a_lost_future_are_adopted_and_none_is_started_beside_them(
    servers, sites, tmp_path: Path
):
    server = servers("store")
    site = await sites(server, "site")
    nodes: dict[str, Any] = {
        "lives": {"type": "program", "config": {"gate": "go", "positions": 2}},
        "ended": {"type": "program", "config": {}},
        "plain": {"type": "plain"},
    }
    (run,) = await site.fire(nodes)
    remember(server, tmp_path / "past")
    await back(site)
    worker = await site.worker()
    pid = await site.waits("lives")

    async def the_others_have_ended() -> bool:
        return {(await site.node(run, name))["status"] for name in ("ended", "plain")} == {"succeeded"}

    await site.until(the_others_have_ended, "two nodes have ended")

    async def only_one_is_left() -> bool:
        return {task.ref for task in await site.store.workers.processes(host())} == {"lives"}

    await site.until(only_one_is_left, "the ends of their processes were heard")
    rewind(server, tmp_path / "past")
    await back(site)

    async def gone() -> bool:
        return process_start(pid) is None

    site.open("go")
    await site.until(gone, "the process of the lost future was refused, and has ended")
    assert await site.ended(run) == "succeeded"
    assert worker.poll() is None
    faults = {name: (await site.node(run, name))["infrastructure_faults"] for name in nodes}
    assert faults == {"lives": 1, "ended": 1, "plain": 0}
    assert {(await site.node(run, name))["attempt"] for name in nodes} == {1}
    assert (await site.node(run, "plain"))["metadata"] == {"plain": True}
    assert (await site.node(run, "ended"))["metadata"] is not None
    assert len(site.diary("lives", epoch=1)) == 2, "one process of each launch"
    await site.check(run, faults=True)


async def test_the_end_of_a_process_that_the_store_has_forgotten_is_not_taken_for_that_of_a_plain_program(
    servers, sites, tmp_path: Path
):
    """One worker watches them all the time. In the older state neither had called start: exit 0 would be a success without
    metadata, and 3 (refused) a failed attempt."""
    server = servers("store")
    site = await sites(server, "site")
    once = {"max_attempts": 1}
    nodes: dict[str, Any] = {
        "done": {"type": "late", "retry": once, "config": {"lingers": "end"}},
        "refused": {"type": "late", "retry": once, "config": {"gate": "end"}},
    }
    worker = await site.worker()
    (run,) = await site.fire(nodes)

    async def both_are_there() -> bool:
        return {task.ref for task in await site.store.workers.processes(host())} == set(nodes)

    await site.until(both_are_there, "both processes are recorded")
    remember(server, tmp_path / "past")
    await back(site)
    (site.installation.settings.log_dir / run / "go").touch()

    async def one_has_made_its_last_checkpoint() -> bool:
        return (await site.node(run, "done"))["status"] == "succeeded"

    await site.until(one_has_made_its_last_checkpoint, "one has made its last checkpoint")
    await site.waits("refused")
    rewind(server, tmp_path / "past")
    await back(site)
    assert {(await site.node(run, name))["status"] for name in nodes} == {"starting"}
    site.open("end")
    assert await site.ended(run) == "succeeded"
    assert worker.poll() is None
    for name in nodes:
        node = await site.node(run, name)
        assert (node["attempt"], node["infrastructure_faults"]) == (1, 1)
        assert node["metadata"] == {"epoch": 1, "attempt": 1}, "what its second launch said"
    await site.check(run, faults=True)
