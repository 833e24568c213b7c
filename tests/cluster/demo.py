"""The demo on a cluster: the brand aggregator, its webhook fired, its nodes run as Jobs, its logs kept and its Jobs gone."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from rich.console import Console
from rich.text import Text

from app.cli.client import Client, Target, segment
from app.cli.documents import read_object
from app.cli.runview import RunView
from app.cli.watching import follow_live
from headrace_nodes import demo
from tests.cluster.cluster import Cluster
from tests.cluster.console import say
from tests.cluster.errors import ClusterError
from tests.cluster.headrace_images import tag
from tests.cluster.installation import JOBS_NAMESPACE, KEY, install
from tests.cluster.kubectl import Kubectl

RUN_LABEL, NODE_LABEL = "headrace.dev/run", "headrace.dev/node"
LOOK_EVERY = 3.0
ACCEPTED = 202
RUNNING, LEAVING = 900.0, 180.0
"""Seconds that the run may take, and its Jobs to be gone afterwards."""
SHOWN = 3
"""Lines of each published feed."""
SAFE = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
USER = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}


def show(cluster: Cluster) -> None:
    """All of it, on the screen. Raises ClusterError where the run does not end as it should."""
    console = Console(soft_wrap=True)
    installation = install(cluster)
    with installation.forwarded() as url, Client(Target(url, KEY, "the cluster"), patience=60.0) as client:
        run = fire(client)
        say(f"its webhook was fired: run {run}")
        jobs = Jobs(cluster.kubectl, run)
        with jobs.watched():
            view = _followed(client, run, console)
        console.print(Text("\nPublished, on the volume of the nodes:", style="bold"))
        console.print(_published(cluster.kubectl, view), markup=False, highlight=False)
        say(f"{len(jobs.seen)} Jobs ran its nodes; they go once their logs are archived")
        jobs.wait_until_gone(LEAVING)
        console.print(Text("The Jobs are gone by their TTL; their logs are kept:", style="bold"))
        for name, size in sorted(_logs(client, run, view.nodes).items()):
            console.print(f"  {size:>7} bytes  headrace run logs {run} {name}", highlight=False)
    print(f"\nTo go on: kubectl -n headrace port-forward service/headrace-api 8765, HEADRACE_API_KEY={KEY}")


def fire(client: Client) -> str:
    """Publish the demo's workflow and fire its webhook; the run."""
    document = read_object(str(demo.WORKFLOW))
    client.send("PUT", f"/workflows/{document['name']}", body=document)
    hook = client.get(f"/workflows/{document['name']}/hooks")["items"][0]
    path = httpx.URL(hook["url"]).path
    answer = httpx.post(client.target.url + path, json={"url": demo.FEED}, timeout=30.0)
    if answer.status_code != ACCEPTED:
        raise ClusterError(f"the webhook was not accepted: {answer.text}")
    return str(answer.json()["receipts"][0]["run"])


def _followed(client: Client, run: str, console: Console) -> RunView:
    deadline = time.monotonic() + RUNNING
    view = follow_live(client, run, console, stop=lambda: time.monotonic() > deadline)
    if view is None or view.run["status"] != "succeeded":
        raise ClusterError(f"the run of the demo did not succeed: {view and view.run['status']}")
    return view


class Jobs:
    """The Jobs of one run, seen as they come and go."""

    def __init__(self, kubectl: Kubectl, run: str) -> None:
        self._kubectl = kubectl
        self._which = (f"--namespace={JOBS_NAMESPACE}", "-l", f"{RUN_LABEL}={run}")
        self._over = threading.Event()
        self.seen: dict[str, str] = {}
        """The node of each, by the Job's name."""

    def there(self) -> list[str]:
        """The names of those that are there now."""
        items = self._kubectl.get("jobs", *self._which)["items"]
        found = {each["metadata"]["name"]: each["metadata"]["labels"][NODE_LABEL] for each in items}
        self.seen |= found
        return list(found)

    @contextmanager
    def watched(self) -> Generator[None]:
        """Look at them again and again meanwhile: their TTL takes the first ones before the last ones begin."""
        thread = threading.Thread(target=self._look, name="jobs", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            self.there()

    def wait_until_gone(self, patience: float) -> None:
        """Raises ClusterError when they stay."""
        if self.there():
            self._kubectl("wait", "jobs", *self._which, "--for=delete", f"--timeout={patience:.0f}s")


def _logs(client: Client, run: str, nodes: Sequence[dict[str, Any]]) -> dict[str, int]:
    """The size of each node's log as the API gives it; of a map's, its first item's."""
    found: dict[str, int] = {}
    for node in nodes:
        name = f"{node['name']}:0" if node.get("items") else str(node["name"])
        text = client.send("GET", f"/runs/{segment(run)}/nodes/{segment(name)}/logs").content
        found[name] = len(text)
    return found


def _published(kubectl: Kubectl, view: RunView) -> str:
    """The first lines of each feed that was published, read from the volume of the nodes."""
    inner = {up for ups in view.needs.values() for up in ups}
    uris = [
        value
        for node in view.nodes
        if node["name"] not in inner
        for value in (node.get("metadata") or {}).values()
        if isinstance(value, str) and value.startswith("file:")
    ]
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "headrace-data"}}
    container = {
        "name": "show", "image": tag("nodes"), "imagePullPolicy": "Never", "securityContext": SAFE,
        "command": ["head", "-n", str(SHOWN), *(urlsplit(uri).path for uri in uris)],
        "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True}],
    }  # fmt: skip
    pod = {
        "restartPolicy": "Never", "automountServiceAccountToken": False, "securityContext": USER,
        "containers": [container], "volumes": [volume],
    }  # fmt: skip
    name = f"demo-published-{secrets.token_hex(3)}"
    job = {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "ttlSecondsAfterFinished": 60, "template": {"spec": pod}},
    }  # fmt: skip
    where = f"--namespace={JOBS_NAMESPACE}"
    kubectl("create", where, "-f", "-", given=json.dumps(job))
    kubectl("wait", where, f"job/{name}", "--for=condition=Complete", "--timeout=60s")
    return kubectl("logs", where, f"job/{name}")
