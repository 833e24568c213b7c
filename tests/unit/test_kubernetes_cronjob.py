"""From a schedule to its CronJob, compared whole; and the program of its pod."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from app.core.podspec import PodSpec
from app.core.schedules import Schedule
from workers.executors.kubernetes.cronjob import SCRIPT, Ticks, covers, cronjob, name_of

TICKS = Ticks("headrace", "jobs", "nodes:1", PodSpec(run_as_user=65532))
NIGHTLY = Schedule("nightly", "0 2 * * 7", "Europe/Berlin", 3_600_000, {})


def built(*, paused: bool = False) -> dict[str, Any]:
    return cronjob(TICKS, "feed", NIGHTLY, "http://api/ticks/t", paused=paused)


def test_a_schedule_is_a_cronjob_whose_pod_posts_the_tick():
    labels = {
        "app.kubernetes.io/name": "headrace-tick",
        "headrace.dev/workflow": "feed",
        "headrace.dev/schedule": "nightly",
    }
    ours = {"app.kubernetes.io/instance": "headrace", "app.kubernetes.io/managed-by": "headrace"}
    container = {
        "name": "tick", "image": "nodes:1", "command": ["python3", "-c", SCRIPT],
        "env": [
            {"name": "HEADRACE_TICK_URL", "value": "http://api/ticks/t"},
            {"name": "HEADRACE_TICK_JOB", "valueFrom": {"fieldRef": {
                "apiVersion": "v1", "fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}},
        ],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    }  # fmt: skip
    pod = {
        "restartPolicy": "Never", "automountServiceAccountToken": False, "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }  # fmt: skip
    assert built() == {
        "apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"name": name_of("headrace", "feed", "nightly"), "namespace": "jobs", "labels": labels | ours},
        "spec": {
            "schedule": "0 2 * * 0", "timeZone": "Europe/Berlin", "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600, "suspend": False,
            "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1,
            "jobTemplate": {"metadata": {"labels": labels}, "spec": {
                "backoffLimit": 3, "activeDeadlineSeconds": 300, "ttlSecondsAfterFinished": 600,
                "template": {"metadata": {"labels": labels}, "spec": pod}}},
        },
    }  # fmt: skip


def test_a_paused_workflow_is_a_suspended_cronjob():
    assert built(paused=True)["spec"]["suspend"] is True


def test_names_leave_room_for_the_time_and_tell_installations_apart():
    long = name_of("headrace", "a" * 63, "b" * 63)
    assert len(long) <= 52
    assert name_of("one", "w", "s") != name_of("two", "w", "s")


def test_defaults_of_the_server_are_no_drift_and_changes_of_ours_are():
    found = built()
    found["spec"]["jobTemplate"]["spec"]["completionMode"] = "NonIndexed"
    found["status"] = {}
    assert covers(found, built())
    for change in ({"schedule": "* * * * *"}, {"suspend": True}, {"timeZone": None}):
        assert not covers({**found, "spec": {**found["spec"], **change}}, built())
    assert not covers(None, built())


class Api(http.server.BaseHTTPRequestHandler):
    """Answers with the codes that the test lists, then 202."""

    codes: list[int]
    bodies: list[Any]

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(self.codes.pop(0) if self.codes else 202)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        pass


def run_pod(job: str, *codes: int) -> tuple[int, list[Any]]:
    """(exit code, bodies) of the pod's program against an API that first answers with these codes."""
    handler = type("Handler", (Api,), {"codes": list(codes), "bodies": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = {
            **os.environ,
            "HEADRACE_TICK_URL": f"http://127.0.0.1:{server.server_port}/t",
            "HEADRACE_TICK_JOB": job,
        }
        done = subprocess.run([sys.executable, "-I", "-c", SCRIPT], env=env, timeout=60, capture_output=True)
        server.shutdown()
    return done.returncode, handler.bodies


def test_the_pod_posts_the_scheduled_time_which_the_name_of_its_job_tells():
    assert run_pod("tick-feed-nightly-abc-29720280") == (0, [{"time": "2026-07-05T02:00:00+00:00"}])


def test_the_pod_tries_again_after_a_503():
    code, bodies = run_pod("tick-x-29720280", 503, 502)
    assert (code, len(bodies)) == (0, 3)


@pytest.mark.parametrize("status", [401, 422])
def test_the_pod_gives_up_when_it_is_refused(status: int):
    code, bodies = run_pod("tick-x-29720280", status)
    assert (code, len(bodies)) == (1, 1)


def test_a_job_made_by_hand_has_no_scheduled_time():
    assert run_pod("by-hand") == (0, [{}])
