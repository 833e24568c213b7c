"""From a launch to its container: pure, so whole bodies are compared."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from app.core.graph import compile_graph
from app.core.podspec import PodSpec, Resources, SecretKey, Volume, quantity
from app.core.tasks import Task
from app.errors import NotFound
from workers.executors.container.spec import Pattern, Site, body, check, spec_digest, volumes

GRAPH = compile_graph({"name": "shop", "nodes": {"resize": {"type": "step"}}}, version=3)
TASK = Task("r0123", "resize", 2, 1)
SITE = Site(instance="headrace", network="", user="65532:65532", volumes=("/data:/data:rw",), api_url="")


def pattern(**changes) -> Pattern:
    plain = Pattern(
        site=SITE, workflow="shop", version=3, node=GRAPH.node("resize"), image="images.example/resize:1", entrypoint=(),
        resources=Resources(), pod=PodSpec(),
    )  # fmt: skip
    return replace(plain, **changes)


def test_a_container_is_as_restricted_as_a_pod():
    made = pattern()
    assert body(made, TASK, {"HEADRACE_NODE": "resize"}) == {
        "Image": "images.example/resize:1",
        "User": "65532:65532",
        "Env": [
            "HEADRACE_NODE=resize",
            "HEADRACE_OUTPUT=/headrace/output/metadata.json",
            "PYTHONUNBUFFERED=1",
            "HOME=/tmp",
        ],
        "Labels": {
            "app.kubernetes.io/name": "headrace-node",
            "app.kubernetes.io/component": "step",
            "app.kubernetes.io/instance": "headrace",
            "app.kubernetes.io/managed-by": "headrace",
            "headrace.dev/run": "r0123",
            "headrace.dev/node": "resize",
            "headrace.dev/attempt": "2",
            "headrace.dev/launch": "1",
            "headrace.dev/workflow": "shop",
            "headrace.dev/task": "r0123|resize|2|1",
            "headrace.dev/spec": spec_digest(made),
        },
        "Volumes": {"/headrace": {}},
        "HostConfig": {
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Privileged": False,
            "PidsLimit": 4096,
            "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777"},
            "Binds": ["/data:/data:rw"],
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file"},
        },
    }


def test_the_node_type_says_what_a_container_may_use_and_who_it_is():
    scratch = Volume(name="scratch", mount_path="/scratch", empty_dir="64Mi")
    models = Volume(name="models", mount_path="/models", claim="models", read_only=True)
    pod = PodSpec(run_as_user=1000, fs_group=2000, volumes=[scratch, models])
    resources = Resources(requests={"cpu": "250m"}, limits={"cpu": "1.5", "memory": "64Mi"})
    site = replace(SITE, network="host", api_url="http://gateway:8765")
    made = body(
        pattern(pod=pod, resources=resources, site=site, entrypoint=("resize", "--fast")),
        TASK,
        {"HEADRACE_API_URL": "http://127.0.0.1:8765"},
    )
    limits = {"Memory": 67108864, "MemorySwap": 67108864, "NanoCpus": 1_500_000_000, "CpuShares": 256}
    assert limits.items() <= made["HostConfig"].items()
    assert made["HostConfig"]["NetworkMode"] == "host"
    assert made["HostConfig"]["Binds"] == ["/data:/data:rw", "models:/models:ro"]
    assert made["HostConfig"]["Tmpfs"]["/scratch"] == "rw,exec,nosuid,nodev,mode=1777,size=67108864"
    assert (made["User"], made["HostConfig"]["GroupAdd"]) == ("1000", ["2000"])
    assert (made["Entrypoint"], made["Cmd"]) == (["resize", "--fast"], [])
    assert "HEADRACE_API_URL=http://gateway:8765" in made["Env"]


@pytest.mark.parametrize(
    ("needs", "text"),
    [
        ({"pod": PodSpec(secrets={"KEY": SecretKey(secret="shop", key="key")})}, "secret shop"),
        ({"pod": PodSpec(runtime_class="gvisor")}, "runtime class gvisor"),
        ({"resources": Resources(limits={"nvidia.com/gpu": "1"})}, "nvidia.com/gpu"),
    ],
)
def test_what_only_a_cluster_has_is_refused(needs, text):
    with pytest.raises(NotFound, match=text):
        check(pattern(**needs))


def test_the_same_launch_has_the_same_digest_and_another_image_another_one():
    assert spec_digest(pattern()) == spec_digest(pattern())
    assert spec_digest(pattern()) != spec_digest(pattern(image="images.example/resize:2"))


@pytest.mark.parametrize(
    ("text", "amount"), [("250m", "0.25"), ("2", "2"), ("1.5", "1.5"), ("64Mi", "67108864"), ("1k", "1000")]
)
def test_amounts_are_read_as_kubernetes_writes_them(text, amount):
    assert quantity(text) == Decimal(amount)


def test_a_directory_is_at_the_same_place_on_both_sides_unless_two_are_told():
    told = volumes("/data, /models:ro,/srv/in:/in:ro")
    assert told == ("/data:/data:rw", "/models:/models:ro", "/srv/in:/in:ro")
