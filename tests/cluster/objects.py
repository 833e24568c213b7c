"""What a cluster has beside its components: a name service, volumes, nodes that are told of, simulated nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cluster.kubectl import Kubectl
from tests.cluster.layout import DNS_ADDRESS, HOST

VOLUMES = 12
"""How many claims can be bound; each is a directory of this machine."""
STORAGE_CLASS = "standard"
DNS_USER = "headrace-test-dns"


def name_service(port: int) -> list[dict[str, Any]]:
    """The service kube-dns; behind it is a process of this machine, not a pod."""
    ports = [{"name": name, "port": port, "protocol": name.upper()} for name in ("udp", "tcp")]
    place = {"name": "kube-dns", "namespace": "kube-system"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": place,
            "spec": {
                "clusterIP": DNS_ADDRESS,
                "ports": [{**each, "port": 53, "targetPort": port} for each in ports],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**place, "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [HOST], "conditions": {"ready": True}}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": DNS_USER},
            "rules": [
                {
                    "apiGroups": ["", "discovery.k8s.io"],
                    "resources": ["services", "namespaces", "endpointslices"],
                    "verbs": ["list", "watch", "get"],
                }
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": DNS_USER},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": DNS_USER}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": DNS_USER},
        },
    ]


def volumes(directory: Path, count: int = VOLUMES) -> list[dict[str, Any]]:
    """A default storage class and the volumes it offers, of every access mode."""
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    return [storage_class, *(_volume(directory, number) for number in range(count))]


def volume_name(number: int) -> str:
    return f"volume-{number:02}"


def _volume(directory: Path, number: int) -> dict[str, Any]:
    name = volume_name(number)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "20Gi"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "hostPath": {"path": str(directory / name), "type": "Directory"},
        },
    }


def admit_node(kubectl: Kubectl, name: str) -> None:
    """Tell of a node what a cloud would tell, its addresses; returns when it is Ready. Raises ClusterError."""
    addresses = [{"type": "Hostname", "address": "localhost"}, {"type": "InternalIP", "address": "127.0.0.1"}]
    told = json.dumps({"status": {"addresses": addresses}})
    kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", told)
    kubectl("taint", "node", name, "node.cloudprovider.kubernetes.io/uninitialized-")
    kubectl("wait", "--for=condition=Ready", f"node/{name}", "--timeout=60s")


def simulated_node(name: str) -> dict[str, Any]:
    """A node without a machine: kwok plays its kubelet. Its taint keeps pods away that do not ask for it."""
    capacity = {"cpu": "64", "memory": "256Gi", "pods": "1000"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
        "status": {"allocatable": capacity, "capacity": capacity, "phase": "Running"},
    }
