"""What no document can ask for, the namespace of the Jobs refuses as well (rule 19, fault row 35)."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from app.core.graph import compile_graph
from app.core.podspec import PodSpec, Resources
from app.core.tasks import Task
from tests.cluster.errors import ClusterError
from tests.cluster.machine import REPOSITORY
from workers.executors.kubernetes.manifest import Pattern, Stencil

GRAPH = compile_graph({"name": "shop", "nodes": {"work": {"image": "busybox"}}}, version=1)
FOREIGN = "foreign.example/miner:1"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def pod(cluster, namespace: str) -> dict[str, Any]:
    """The pod of one of our Jobs."""
    pattern = Pattern("headrace", namespace, "shop", 1, GRAPH.node("work"), cluster.image("busybox:1"), (),
                      Resources(), PodSpec(run_as_user=65532))  # fmt: skip
    template = json.loads(Stencil(pattern).job(Task("r0123", "work", 1, 0), {}))["spec"]["template"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "work"}, "spec": template["spec"]}


def ask(cluster, namespace: str, pod: dict[str, Any]) -> None:
    """Ask for the pod without having it. Raises ClusterError where it is refused."""
    given = json.dumps(pod)
    cluster.kubectl("create", f"--namespace={namespace}", "--dry-run=server", "-f", "-", given=given)


def test_the_pod_of_a_job_is_taken(cluster, namespace: str, pod: dict[str, Any]):
    ask(cluster, namespace, pod)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda spec: spec["volumes"].append({"name": "root", "hostPath": {"path": "/"}}), "hostPath"),
        (lambda spec: spec["containers"][0].update(securityContext={"privileged": True}), "privileged"),
        (lambda spec: spec["containers"][0]["securityContext"].pop("capabilities"), "capabilities"),
        (lambda spec: spec.update(hostNetwork=True), "host namespaces"),
        (lambda spec: spec.update(hostPID=True), "host namespaces"),
        (lambda spec: spec["securityContext"].update(runAsUser=0), "runAsUser"),
    ],
    ids=["hostPath", "privileged", "capabilities", "hostNetwork", "hostPID", "root"],
)
def test_the_machine_and_privilege_are_refused_by_pod_security(
    cluster, namespace: str, pod: dict[str, Any], change: Change, named: str
):
    tampered = copy.deepcopy(pod)
    change(tampered["spec"])
    with pytest.raises(ClusterError, match=f"(?s)violates PodSecurity.*{named}"):
        ask(cluster, namespace, tampered)


@pytest.fixture
def image_policy(cluster, namespace: str) -> Iterator[Callable[[str], None]]:
    """components/image-policy for the test's namespace alone; called with the patterns it has."""
    text = (REPOSITORY / "k8s" / "components" / "image-policy" / "policy.yaml").read_text("utf-8")
    policy, binding = yaml.safe_load_all(text)
    for each in (policy, binding):
        each["metadata"] = {"name": namespace}
    binding["spec"]["policyName"] = namespace
    own = {"kubernetes.io/metadata.name": namespace}
    binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"] = own

    def enforce(patterns: str) -> None:
        cluster.kubectl("annotate", "namespace", namespace, "--overwrite", f"headrace.dev/images={patterns}")
        cluster.kubectl.apply([policy, binding])

    yield enforce
    for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        cluster.kubectl("delete", kind, namespace, "--ignore-not-found")


def complaint(cluster, namespace: str, pod: dict[str, Any]) -> str:
    """Why the pod is refused; empty where it is not."""
    try:
        ask(cluster, namespace, pod)
    except ClusterError as error:
        return str(error)
    return ""


async def test_a_foreign_image_gets_no_pod_and_why_says_so(site, image_policy, pod: dict[str, Any]):
    """A Job whose pod is refused waits; allowed, it runs."""
    image_policy(FOREIGN)

    async def enforced() -> bool:
        return "is not allowed" in complaint(site.cluster, site.namespace, pod)

    await site.until(enforced, "the policy is in force")
    await site.worker()
    run = await site.fire({"type": "shell"}, site.shell("true"))
    told = await site.until_why(run, "FailedCreate")
    assert f"{site.cluster.image('busybox:1')} is not allowed" in told
    image_policy(f"{FOREIGN}, {site.cluster.image('busy?ox:[0-9]')}")
    assert (await site.ended(run))["status"] == "succeeded"


async def test_every_container_of_a_pod_is_looked_at(site, image_policy, pod: dict[str, Any]):
    image_policy(site.cluster.image("*"))
    container = pod["spec"]["containers"][0]
    pod["spec"]["initContainers"] = [{**container, "name": "first", "image": FOREIGN}]

    async def refused() -> bool:
        return f"{FOREIGN} is not allowed" in complaint(site.cluster, site.namespace, pod)

    await site.until(refused, "the foreign image is refused")
    pod["spec"]["initContainers"][0]["image"] = container["image"]
    ask(site.cluster, site.namespace, pod)
