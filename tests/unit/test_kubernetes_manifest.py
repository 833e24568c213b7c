"""A launch becomes one Job, compared whole: what is not written here is not in it (rule 19, fault row 35)."""

from __future__ import annotations

import re

import orjson
import pytest
from pydantic import ValidationError

from app.core.graph import compile_graph
from app.core.podspec import PodSpec, Resources
from app.core.tasks import Task
from workers.executors.kubernetes.manifest import Pattern, Stencil, job, spec_digest, wire
from workers.executors.naming import launch_name

GRAPH = compile_graph(
    {"name": "shop", "nodes": {"re_price": {"type": "reprice@2", "timeout": {"start": "1m", "run": "2m"}}}},
    version=3,
)
ITEM = Task("r0123", "re_price:7", 2, 1)
POD = PodSpec(
    node_selector={"disk": "fast"}, labels={"kueue.x-k8s.io/queue-name": "batch"}, run_as_user=1000,
    volumes=[{"name": "data", "mount_path": "/data", "claim": "shared"}],  # pyright: ignore[reportArgumentType]
    secrets={"KEY": {"secret": "pricing", "key": "token"}},  # pyright: ignore[reportArgumentType]
)  # fmt: skip


def pattern(**changes: object) -> Pattern:
    members = {"instance": "headrace", "namespace": "jobs", "workflow": "shop", "version": 3,
               "node": GRAPH.node("re_price"), "image": "registry.example/reprice:2", "entrypoint": ("run",),
               "resources": Resources(limits={"memory": "64Mi"}), "pod": POD, **changes}  # fmt: skip
    return Pattern(**members)  # pyright: ignore[reportArgumentType]


def test_a_job_is_exactly_this():
    labels = {
        "kueue.x-k8s.io/queue-name": "batch",
        "app.kubernetes.io/name": "headrace-node", "app.kubernetes.io/component": "reprice",
        "app.kubernetes.io/instance": "headrace", "app.kubernetes.io/managed-by": "headrace",
        "headrace.dev/run": "r0123", "headrace.dev/node": "re_price", "headrace.dev/attempt": "2",
        "headrace.dev/launch": "1", "headrace.dev/workflow": "shop", "headrace.dev/item": "7",
    }  # fmt: skip
    annotations = {"headrace.dev/task": "r0123|re_price:7|2|1"}
    container = {
        "name": "node", "image": "registry.example/reprice:2", "command": ["run"],
        "env": [{"name": "HEADRACE_TOKEN", "value": "hn_x"}, {"name": "HEADRACE_OUTPUT", "value": "/dev/termination-log"},
                {"name": "PYTHONUNBUFFERED", "value": "1"}, {"name": "HOME", "value": "/tmp"},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "pricing", "key": "token"}}}],
        "resources": {"limits": {"memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "data", "mountPath": "/data"}],
    }  # fmt: skip
    pod = {
        "restartPolicy": "Never", "activeDeadlineSeconds": 60 + 120 + 60 + 60,
        "automountServiceAccountToken": False, "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30, "nodeSelector": {"disk": "fast"},
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}],
    }  # fmt: skip
    ignore = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert wire(job(pattern(), ITEM, {"HEADRACE_TOKEN": "hn_x"})) == {
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": launch_name("headrace", ITEM), "namespace": "jobs", "annotations": annotations,
                     "labels": {**labels, "headrace.dev/spec": spec_digest(pattern())}},
        "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 0, "podReplacementPolicy": "Failed",
                 "podFailurePolicy": {"rules": [ignore]},
                 "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod}},
    }  # fmt: skip


def test_the_quick_way_gives_the_same_job_as_the_typed_one():
    env = {"HEADRACE_TOKEN": "hn_x", "HEADRACE_ITEM": "7"}
    assert orjson.loads(Stencil(pattern()).job(ITEM, env)) == wire(job(pattern(), ITEM, env))


def test_a_name_is_a_dns_label_of_its_own_for_each_launch():
    tasks = [ITEM, ITEM._replace(launch=2), ITEM._replace(attempt=3), ITEM._replace(ref="re_price:8"),
             ITEM._replace(ref="a" * 63), ITEM._replace(ref="a__")]  # fmt: skip
    names = [launch_name("headrace", task) for task in tasks] + [launch_name("other", ITEM)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) and len(name) <= 52 for name in names)


def test_the_digest_tells_what_runs_and_not_who_may_speak_for_it():
    assert spec_digest(pattern()) == spec_digest(pattern())
    assert spec_digest(pattern(image="other:1")) != spec_digest(pattern())


@pytest.mark.parametrize(
    "wish",
    [
        {"volumes": [{"name": "x", "mount_path": "/x", "host_path": "/"}]},
        {"volumes": [{"name": "x", "mount_path": "/tmp", "claim": "c"}]},
        {"volumes": [{"name": "x", "mount_path": "/x"}]},
        {"privileged": True}, {"service_account": "admin"}, {"run_as_user": 0}, {"host_network": True},
        {"labels": {"headrace.dev/run": "other"}}, {"secrets": {"HEADRACE_TOKEN": {"secret": "s", "key": "k"}}},
    ],
)  # fmt: skip
def test_what_an_operator_cannot_give_a_pod_is_refused(wish: dict[str, object]):
    """Fault row 35."""
    with pytest.raises(ValidationError):
        PodSpec(**wish)  # pyright: ignore[reportArgumentType]


def test_a_node_type_stands_on_top_of_what_every_pod_has():
    every = PodSpec(node_selector={"a": "1"}, run_as_user=1)
    assert PodSpec(node_selector={"b": "2"}, run_as_user=2).over(every) == PodSpec(
        node_selector={"a": "1", "b": "2"}, run_as_user=2
    )
