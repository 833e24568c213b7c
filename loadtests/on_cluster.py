"""An installation whose nodes run as Jobs of a real cluster: Valkey, API and workers as processes of this machine."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from pydantic import SecretStr

from app.embedded import EmbeddedValkey, die_with_parent, free_port
from app.settings import Settings
from loadtests.api import Api, until
from loadtests.dev import Ready
from tests.cluster.layout import HOST
from tests.cluster.machine import REPOSITORY
from workers.executors.kubernetes.client import LEASES, Cluster, ClusterError

USER = 65532
"""Whom pods run as: our images name a user, which Pod Security takes for root where it is no number."""
RBAC = "rbac.authorization.k8s.io/v1"
STARTS_WITHIN = 60.0
"""Seconds that the API, and the first worker, may take."""
DRAINS_WITHIN = 15.0
"""Seconds that a worker may take to end."""


async def namespaced(cluster: Cluster) -> None:
    """Make the client's namespace; returns when pods can be made in it. Raises ClusterError, TimeoutError."""
    await cluster.call("POST", _namespaces(cluster), {"metadata": {"name": cluster.namespace}})

    async def account() -> bool:
        try:
            return bool(await cluster.call("GET", cluster.url("v1", "serviceaccounts", "default")))
        except ClusterError as error:
            if not error.passing and error.http_status != 404:
                raise
            return False

    await until(account, STARTS_WITHIN)


def workers_rules() -> list[dict[str, Any]]:
    """What the Role of the workers in k8s/base allows."""
    documents = yaml.safe_load_all((REPOSITORY / "k8s" / "base" / "access.yaml").read_text("utf-8"))
    return next(each["rules"] for each in documents if each["kind"] == "Role")


async def workers_account(
    cluster: Cluster, kubeconfig: str, folder: Path, rules: list[dict[str, Any]]
) -> str:
    """Make the account of workers in the client's namespace, with a Role of these rules; its kubeconfig, a file in `folder`.

    A pod's token is another way in than an administrator's certificate, which the API server verifies at every request.
    """
    where = {"name": "headrace-worker", "namespace": cluster.namespace}
    reference = {"apiGroup": RBAC.partition("/")[0], "kind": "Role", "name": where["name"]}
    subjects = [{"kind": "ServiceAccount", **where}]
    await cluster.call("POST", cluster.url("v1", "serviceaccounts"), {"metadata": where})
    await cluster.call("POST", cluster.url(RBAC, "roles"), {"metadata": where, "rules": rules})
    binding = {"metadata": where, "subjects": subjects, "roleRef": reference}
    await cluster.call("POST", cluster.url(RBAC, "rolebindings"), binding)
    address = cluster.url("v1", "serviceaccounts", where["name"], "token")
    token = (await cluster.call("POST", address, {"spec": {"expirationSeconds": 7200}}))["status"]["token"]
    config = yaml.safe_load(Path(kubeconfig).read_text("utf-8"))
    context = next(
        each["context"] for each in config["contexts"] if each["name"] == config["current-context"]
    )
    config["users"] = [{"name": context["user"], "user": {"token": token}}]
    path = folder / "worker.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config), "utf-8")
    return str(path)


async def removed(cluster: Cluster) -> None:
    """Have the client's namespace removed, with all that is in it; that goes on by itself."""
    with suppress(ClusterError):
        await cluster.call("DELETE", f"{_namespaces(cluster)}/{cluster.namespace}")


def _namespaces(cluster: Cluster) -> str:
    return cluster.url("v1", "x").rpartition(f"/{cluster.namespace}/")[0]


@dataclass(slots=True)
class OnCluster:
    """Its parts. What they print is in `root`."""

    root: Path
    settings: Settings
    cluster: Cluster
    """A client of ours, in the namespace of the Jobs."""
    api: Api
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    def start_worker(self) -> None:
        self.workers.append(self.process("worker"))

    def process(self, command: str, *options: str) -> subprocess.Popen[bytes]:
        """`headrace COMMAND` on its own; it dies with this program."""
        names = ("PATH", "HOME", "LANG")
        env = {name: os.environ[name] for name in names if name in os.environ} | _environment(self.settings)
        with (self.root / f"{command}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "app.cli.main", command, *options], cwd=REPOSITORY, env=env,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent,
            )  # fmt: skip

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """kill -9 of a worker; another one is started in its place."""
        worker.kill()
        worker.wait()
        self.workers.remove(worker)
        self.start_worker()

    async def leader(self) -> subprocess.Popen[bytes] | None:
        """The worker that watches the cluster now; None while nobody alive does."""
        leases = await self.cluster.call("GET", self.cluster.url(LEASES, "leases"))
        holders = [str((each.get("spec") or {}).get("holderIdentity") or "") for each in leases["items"]]
        return next(
            (each for each in self.workers if any(f"-{each.pid}-" in holder for holder in holders)), None
        )

    async def publish(self, document: dict[str, Any], **types: dict[str, Any]) -> None:
        """A workflow, and before it the node types that it names. Raises ApiError."""
        for name, manifest in types.items():
            await self.api.send("PUT", f"/node-types/{name}", manifest)
        await self.api.send("PUT", f"/workflows/{document['name']}", document)

    async def fire(self, workflow: str) -> str:
        """Start a run, once however often the call is repeated; its id. Raises ApiError."""
        key = {"idempotency-key": secrets.token_hex(8)}
        answer = await self.api.send("POST", f"/workflows/{workflow}/runs", {"params": {}}, **key)
        return str(answer["run"])


def _environment(settings: Settings) -> dict[str, str]:
    """The variables that make another process read the same settings."""
    found: dict[str, str] = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        found[f"HEADRACE_{name.upper()}"] = (
            value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        )
    return found


@asynccontextmanager
async def on_cluster(
    root: Path, kubeconfig: str, *, workers: int, pod: str = "", **more: Any
) -> AsyncGenerator[OnCluster]:
    """Start all of it in an empty directory, in a namespace of its own; end and remove it afterwards.

    `pod` is what all pods have beside what they need here, as HEADRACE_KUBERNETES_POD; `more` are further settings.
    Raises ClusterError, TimeoutError.
    """
    valkey = EmbeddedValkey(root / "valkey")
    port, name = free_port(), f"load-{secrets.token_hex(4)}"
    settings = Settings(
        redis_url=SecretStr(valkey.url), executors="kubernetes", image_allow="localhost/*", kubeconfig=kubeconfig,
        kubernetes_namespace=name, kubernetes_pod=pod or f'{{"run_as_user": {USER}, "image_pull_policy": "Never"}}',
        api_url=f"http://{HOST}:{port}", allowed_hosts=HOST, bootstrap_key=SecretStr(f"hr_root_{secrets.token_hex(16)}"),
        data_uri="file:/tmp/data", log_dir=root / "logs", log_uri=f"file:{root}/joblogs", log_format="json", **more,
    )  # fmt: skip
    key = settings.bootstrap_key.get_secret_value()
    ready = Ready(f"http://127.0.0.1:{port}", key, valkey.url, None, None, ())
    cluster = await Cluster.open(settings)
    made = OnCluster(root, settings, cluster, Api(ready))
    parts: list[subprocess.Popen[bytes]] = []
    valkey.start()
    try:
        await namespaced(cluster)
        parts.append(made.process("server", "--host", "0.0.0.0", "--port", str(port)))
        for _ in range(workers):
            made.start_worker()
        await until(_answers(ready), STARTS_WITHIN)
        await until(made.leader, STARTS_WITHIN)
        yield made
    finally:
        await asyncio.to_thread(_end, [*made.workers, *parts])
        await made.api.close()
        valkey.stop()
        await removed(cluster)
        await cluster.close()


def _answers(ready: Ready) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        try:
            async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
                return (await client.get(f"{ready.url}/readyz")).status_code == 200
        except httpx.HTTPError:
            return False

    return ask


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """SIGTERM for all, and SIGKILL for what does not end by itself."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(DRAINS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
