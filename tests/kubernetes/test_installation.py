"""The dev overlay as an installation: its webhook runs nodes as Jobs, and no death or change of its parts loses a run."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.demo import Jobs
from tests.cluster.installation import JOBS_NAMESPACE, KEY, NAMESPACE, Installation
from tests.kubernetes.load import Load, Server

LOAD = 60
WAITS = {"pause": {"wait": {"duration": "1s"}}}
"""Of nine webhooks in ten: what the engine does alone."""
WORKS = {"pause": {"wait": {"duration": "1s"}}, "work": {"image": "localhost/nodes:dev", "needs": ["pause"]}}
"""Of every tenth: a Job after a wait."""


@pytest.fixture
def server(installation: Installation) -> Server:
    return Server(installation.address(), KEY)


def document(nodes: dict[str, Any]) -> dict[str, Any]:
    webhook = {"name": f"arrived-{secrets.token_hex(4)}", "signature": "none"}
    return {
        "name": f"load-{secrets.token_hex(4)}",
        "nodes": nodes,
        "triggers": [{"webhook": {**webhook, "params": {"number": "${{ event.body.number }}"}}}],
        "params": {"type": "object", "properties": {"number": {"type": "integer"}}},
    }


async def test_a_webhook_becomes_a_run_whose_node_is_a_job(cluster, server: Server) -> None:
    hook = await server.publish(document(WORKS))
    load = Load(server, [hook])
    await load.send(0)
    (run,) = load.accepted
    jobs = Jobs(cluster.kubectl, run)
    with jobs.watched():
        assert (await server.ended(run))["status"] == "succeeded"
    assert list(jobs.seen.values()) == ["work"]


async def under_load(server: Server, act: Callable[[], None]) -> None:
    """Each webhook that was accepted while `act` did its work has one run, which succeeded; and no other run is there."""
    documents = [document(WAITS), document(WORKS)]
    waits, works = [await server.publish(each) for each in documents]
    load = Load(server, [*[waits] * 9, works])
    async with load.steady(LOAD):
        await asyncio.to_thread(act)
    ends = [(await server.ended(run))["status"] for run in load.accepted]
    assert Counter(ends) == {"succeeded": LOAD}
    there = [run["id"] for each in documents for run in await server.runs(each["name"])]
    assert sorted(there) == sorted(load.accepted)
    assert len(set(there)) == LOAD


async def test_pods_of_each_part_killed_under_load_lose_and_double_nothing(
    cluster, installation: Installation, server: Server
) -> None:
    """Fault rows 1, 2, 13: both pods of API and workers at once, and the only one of Redis, without a warning."""

    def act() -> None:
        for part in ("api", "worker", "redis"):
            cluster.kubectl(
                "delete", "pod", f"--namespace={NAMESPACE}", "--force", "--grace-period=0",
                "-l", f"app.kubernetes.io/name=headrace-{part}",
            )  # fmt: skip
            installation.ready()

    await under_load(server, act)


async def test_a_new_version_rolled_out_under_load_loses_and_doubles_nothing(
    installation: Installation, server: Server
) -> None:
    def act() -> None:
        for part in ("deployment/headrace-api", "deployment/headrace-worker"):
            installation.roll_out(secrets.token_hex(4), part)
            installation.ready()

    await under_load(server, act)


async def test_pods_of_nodes_deleted_under_load_are_made_again(cluster, server: Server) -> None:
    """Fault row 25."""
    hook = await server.publish(document(WORKS))
    load = Load(server, [hook])

    def act() -> None:
        cluster.kubectl(
            "wait", "pod", f"--namespace={JOBS_NAMESPACE}", "-l", "app.kubernetes.io/managed-by=headrace",
            "--for=create", "--timeout=60s",
        )  # fmt: skip
        cluster.kubectl(
            "delete", "pod", f"--namespace={JOBS_NAMESPACE}", "-l", "app.kubernetes.io/managed-by=headrace",
            "--force", "--grace-period=0",
        )  # fmt: skip

    async with load.steady(6):
        await asyncio.to_thread(act)
    assert [(await server.ended(run))["status"] for run in load.accepted] == ["succeeded"] * 6
