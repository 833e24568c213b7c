"""What kwok is told: how the pods of simulated nodes live, and what their logs say. Pure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KIND = "kwok.x-k8s.io/v1alpha1"
RUNS_MS, SPREAD_MS = 500, 4000
"""How long a container runs at least and at most."""
LOG = "2026-01-01T00:00:00.000000000Z stdout F simulated\n"
"""The log of every container, as a container runtime writes it."""
_ALIVE: dict[str, Any] = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
_RUNNING = """
{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
conditions:
{{ range (list "Initialized" "PodReadyToStartContainers" "ContainersReady" "Ready") }}
- type: {{ . | Quote }}
  status: "True"
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  started: true
  restartCount: 0
  state:
    running:
      startedAt: {{ $now | Quote }}
{{ end }}
"""
_SUCCEEDED = """
{{ $now := Now }}
{{ $start := .status.startTime }}
phase: Succeeded
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  started: false
  restartCount: 0
  state:
    terminated:
      exitCode: 0
      reason: Completed
      startedAt: {{ $start | Quote }}
      finishedAt: {{ $now | Quote }}
{{ end }}
"""


def _stage(name: str, when: list[dict[str, Any]], then: dict[str, Any], **more: Any) -> dict[str, Any]:
    resource = {"apiGroup": "v1", "kind": "Pod"}
    spec = {"resourceRef": resource, "selector": {"matchExpressions": when}, "next": then, **more}
    return {"apiVersion": KIND, "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def _in_phase(*phases: str) -> dict[str, Any]:
    return {"key": ".status.phase", "operator": "In", "values": list(phases)}


def life(log: Path) -> str:
    """kwok's configuration: a pod runs at once, ends well after a while, and is gone when it is deleted; `log` is its log."""
    delay = {"durationMilliseconds": RUNS_MS, "jitterDurationMilliseconds": SPREAD_MS}
    owned = {"key": ".metadata.ownerReferences.[].kind", "operator": "In", "values": ["Job"]}
    deleted = {"key": ".metadata.deletionTimestamp", "operator": "Exists"}
    documents = [
        _stage("runs", [_ALIVE, _in_phase("Pending")], {"statusTemplate": _RUNNING}),
        _stage("ends", [_ALIVE, _in_phase("Running"), owned], {"statusTemplate": _SUCCEEDED}, delay=delay),
        _stage("goes", [deleted], {"finalizers": {"empty": True}, "delete": True}),
        {
            "apiVersion": KIND,
            "kind": "ClusterLogs",
            "metadata": {"name": "all"},
            "spec": {"logs": [{"logsFile": str(log)}]},
        },
    ]
    return "\n---\n".join(json.dumps(document, indent=1) for document in documents)
