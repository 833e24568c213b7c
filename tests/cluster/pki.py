"""Certificates of the cluster's own authority, and the kubeconfigs made of them."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.layout import HOST, NODE, SERVICE_NETWORK, Layout
from tests.cluster.machine import program
from tests.cluster.objects import DNS_USER

DAYS = "3650"
APISERVER_ADDRESS = SERVICE_NETWORK.rsplit(".", 1)[0] + ".1"
"""The first address of the services' network: the service `kubernetes`."""


@dataclass(frozen=True)
class Identity:
    """A certificate: its file name, user, groups, and for a server the names it answers to."""

    name: str
    user: str
    groups: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        return "".join(f"/O={group}" for group in self.groups) + f"/CN={self.user}"


ADMIN = Identity("admin", "headrace-test-admin", ("system:masters",))
CONTROLLERS = Identity("controllers", "system:kube-controller-manager")
SCHEDULER = Identity("scheduler", "system:kube-scheduler")
PROXY = Identity("proxy", "system:kube-proxy")
KUBELET = Identity("kubelet", f"system:node:{NODE}", ("system:nodes",))
DNS = Identity("dns", DNS_USER)
CLIENTS = (ADMIN, CONTROLLERS, SCHEDULER, PROXY, KUBELET, DNS)

SERVERS = (
    Identity(
        "apiserver",
        "kube-apiserver",
        names=(
            "DNS:localhost",
            "DNS:kubernetes",
            "DNS:kubernetes.default",
            "DNS:kubernetes.default.svc",
            "DNS:kubernetes.default.svc.cluster.local",
            "IP:127.0.0.1",
            f"IP:{HOST}",
            f"IP:{APISERVER_ADDRESS}",
        ),
    ),
    Identity("kubelet-server", f"system:node:{NODE}", names=("DNS:localhost", "IP:127.0.0.1")),
)
APISERVER_TO_KUBELET = Identity("apiserver-kubelet", "kube-apiserver-kubelet", ("system:masters",))


def make(layout: Layout) -> None:
    """The authority, every certificate, the key of service accounts, every kubeconfig."""
    _authority(layout)
    for identity in (*CLIENTS, *SERVERS, APISERVER_TO_KUBELET):
        _issue(layout, identity)
    _openssl(
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        layout.pki("accounts.key"),
    )
    _openssl("pkey", "-in", layout.pki("accounts.key"), "-pubout", "-out", layout.pki("accounts.pub"))
    for identity in CLIENTS:
        _write_kubeconfig(layout, identity, identity.name)


def make_for_node(layout: Layout, node: str) -> None:
    """What the kubelet of a further node says who it is with."""
    identity = Identity(f"kubelet-{node}", f"system:node:{node}", ("system:nodes",))
    _issue(layout, identity)
    _write_kubeconfig(layout, identity, KUBELET.name)


def _write_kubeconfig(layout: Layout, identity: Identity, name: str) -> None:
    path = layout.root / "kubeconfig" / name
    path.write_text(json.dumps(kubeconfig(layout, identity), indent=1))
    path.chmod(0o600)


def kubeconfig(layout: Layout, identity: Identity) -> dict[str, object]:
    """A kubeconfig (JSON is YAML) that carries its certificates in itself, so that it can be copied."""
    cluster = {"server": layout.server, "certificate-authority-data": _base64(layout.pki("ca.crt"))}
    user = {
        "client-certificate-data": _base64(layout.pki(f"{identity.name}.crt")),
        "client-key-data": _base64(layout.pki(f"{identity.name}.key")),
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "headrace-test", "cluster": cluster}],
        "users": [{"name": identity.user, "user": user}],
        "contexts": [
            {"name": "headrace-test", "context": {"cluster": "headrace-test", "user": identity.user}}
        ],
        "current-context": "headrace-test",
    }


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _authority(layout: Layout) -> None:
    _openssl(
        *("req", "-x509", *_KEY, "-days", DAYS, "-subj", "/CN=headrace-test"),
        *("-keyout", layout.pki("ca.key"), "-out", layout.pki("ca.crt")),
        *("-addext", "keyUsage=critical,keyCertSign,digitalSignature"),
    )


def _issue(layout: Layout, identity: Identity) -> None:
    usage = "serverAuth" if identity.names else "clientAuth"
    names = ("-addext", "subjectAltName=" + ",".join(identity.names)) if identity.names else ()
    _openssl(
        *("req", "-x509", *_KEY, "-days", DAYS, "-subj", identity.subject),
        *("-CA", layout.pki("ca.crt"), "-CAkey", layout.pki("ca.key")),
        *("-keyout", layout.pki(f"{identity.name}.key"), "-out", layout.pki(f"{identity.name}.crt")),
        *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", f"extendedKeyUsage={usage}", *names),
    )


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run([program("openssl"), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
