"""A machine is lost: the cluster hears nothing of it, takes its pods away, and nobody confirms that they are gone (B3, B4).

The kubelet of a node of its own is stopped; what runs in its pods goes on, which is the worst case: two at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.components import MACHINE
from tests.cluster.further import FurtherNode, further_node
from tests.cluster.headrace_images import base_archive
from tests.cluster.layout import NODE
from workers.executors.kubernetes import manifest

PROGRAM = {"type": "program", "retry": {"max_attempts": 1}}
SEEN = 120.0
"""Seconds within which the cluster has missed the machine (20 s), taken its pod away, and the pod is overdue."""


@pytest.fixture(scope="module")
def machine(cluster) -> Iterator[FurtherNode]:
    """A node for the pods of these tests alone."""
    if cluster.own is None:
        pytest.fail("a kubelet must be stopped: this test needs a cluster of ours")
    own = cluster.own
    with further_node(own.layout, own.binaries, own.kubectl, [base_archive()]) as found:
        yield found


@pytest.fixture
async def working(site, machine: FurtherNode, python_image, monkeypatch: pytest.MonkeyPatch):
    """A site with an API, whose pods have a short grace. The machine is there again afterwards."""
    monkeypatch.setattr(manifest, "GRACE_S", 2)
    await site.api()
    yield site
    machine.find()
    site.cluster.kubectl("wait", "--for=condition=Ready", f"node/{machine.name}", "--timeout=60s")


def program_on(site, machine: FurtherNode):
    """A program whose pods go to the machine, and are taken away a second after it is missed."""
    missed = [
        {
            "key": f"node.kubernetes.io/{what}",
            "operator": "Exists",
            "effect": "NoExecute",
            "toleration_seconds": 1,
        }
        for what in ("unreachable", "not-ready")
    ]
    ours = {"key": MACHINE, "operator": "Exists"}
    return site.program(kubernetes={"node_selector": machine.selector, "tolerations": [ours, *missed]})


async def lost(site, machine: FurtherNode, first: str, run: str) -> None:
    """The machine is lost while its pod waits at its gate, and that is known."""
    await site.at_position(first)
    machine.lose()
    assert machine.name in await site.until_why(run, "MachineLost", SEEN)


async def token(site) -> str:
    """What the program of the one Job speaks with."""
    (job,) = await site.items("jobs")
    variables = job["spec"]["template"]["spec"]["containers"][0]["env"]
    return next(each["value"] for each in variables if each["name"] == "HEADRACE_TOKEN")


async def test_a_machine_that_comes_back_costs_one_infrastructure_fault_and_no_attempt(
    working, machine: FurtherNode
):
    """Fault row 25: the same attempt, a new epoch; until the pod is confirmed gone it holds its slots."""
    site = working
    await site.worker()
    run = await site.fire(PROGRAM, program_on(site, machine))
    first = await site.pod()
    await lost(site, machine, first, run)
    assert [task.run for task in await site.store.pools.all_holders()] == [run]
    assert (await site.store.runs.node(run, "work"))["status"] == "running"
    machine.find()
    second = await site.pod(without=first)
    await site.at_position(second)
    old = {"authorization": f"Bearer {await token(site)}"}
    beat = await site.clients[0].post(
        f"/api/v1/runs/{run}/nodes/work/heartbeat", json={"epoch": 1}, headers=old
    )
    assert beat.status_code == 409, "what the old pod would say is refused"
    await site.execute(second, "touch", "/tmp/go")
    node = await site.ended(run)
    assert node["metadata"] == {"epoch": 2, "attempt": 1, "began": 3}
    assert node["infrastructure_faults"] == 1
    assert len(await site.items("jobs")) == 1


@pytest.fixture
def elsewhere(cluster, machine: FurtherNode) -> Iterator[list[str]]:
    """The words of kubectl that let the pods go to another machine as well."""
    key, value = next(iter(machine.selector.items()))
    yield ["label", "node", NODE, "--overwrite", f"{key}={value}"]
    cluster.kubectl("label", "node", NODE, f"{key}-")


def programs_of(run: str) -> set[int]:
    """The processes of this machine, in whatever container, that run a node of a run."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"HEADRACE_RUN_ID={run}".encode() in path.read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


async def test_a_machine_that_never_comes_back_is_waited_for_as_long_as_the_operator_says(
    working, machine: FurtherNode, elsewhere: list[str]
):
    """Fault row 25: then the attempt goes on elsewhere, and the old program, which still runs, is refused and leaves."""
    site = working
    await site.worker(force_release_after=5.0)
    run = await site.fire(PROGRAM, program_on(site, machine))
    first = await site.pod()
    before = programs_of(run)
    await lost(site, machine, first, run)
    assert before <= programs_of(run), "nobody has ended the old program"
    site.cluster.kubectl(*elsewhere)
    second = await site.pod(without=first)
    assert json.loads(await site.kubectl("get", "pod", second, "-o", "json"))["spec"]["nodeName"] == NODE

    async def old_one_left() -> bool:
        return not before & programs_of(run)

    await site.until(old_one_left, "the old program is refused, and leaves by itself")
    await site.at_position(second)
    await site.execute(second, "touch", "/tmp/go")
    node = await site.ended(run)
    assert node["metadata"] == {"epoch": 2, "attempt": 1, "began": 3}
    assert node["infrastructure_faults"] == 1
    unconfirmed = json.loads(await site.kubectl("get", "pod", first, "-o", "json"))
    assert (unconfirmed["status"]["phase"], "deletionTimestamp" in unconfirmed["metadata"]) == (
        "Running",
        True,
    )
