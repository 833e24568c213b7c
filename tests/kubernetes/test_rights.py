"""A worker needs the rights of its Role and no others; doctor explains what is denied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.commands.doctor import examine_cluster
from loadtests.on_cluster import workers_account, workers_rules
from workers.executors.kubernetes.client import Cluster


async def as_worker(site, folder: Path, rules: list[dict[str, Any]]) -> str:
    """A service account with these rules in the Jobs' namespace; its kubeconfig."""
    cluster = await Cluster.open(site.settings)
    try:
        return await workers_account(cluster, str(site.cluster.kubeconfig), folder, rules)
    finally:
        await cluster.close()


async def test_a_worker_with_its_role_alone_runs_archives_cancels_and_cleans_up(site, tmp_path):
    kubeconfig = await as_worker(site, tmp_path, workers_rules())
    await site.worker(kubeconfig=kubeconfig, kubernetes_ttl=0)
    run = await site.fire({"type": "shell"}, site.shell("echo hello"))
    assert (await site.ended(run))["status"] == "succeeded"

    async def gone() -> bool:
        return not await site.items("jobs")

    await site.until(gone, "the Job is gone by its TTL")
    run = await site.fire({"type": "stoppable"}, site.stoppable(), name="long")
    await site.pod()
    await site.store.control.cancel(run)
    assert (await site.ended(run))["status"] == "cancelled"


async def test_doctor_says_which_verb_is_denied_and_what_does_not_work_without_it(
    site, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    rules = [rule for rule in workers_rules() if rule["resources"] != ["pods/log"]]
    kubeconfig = await as_worker(site, tmp_path, rules)
    monkeypatch.setenv("HEADRACE_EXECUTORS", "kubernetes")
    monkeypatch.setenv("HEADRACE_KUBECONFIG", kubeconfig)
    monkeypatch.setenv("HEADRACE_KUBERNETES_NAMESPACE", site.namespace)
    (finding,) = await examine_cluster()
    assert (finding.check, finding.ok) == ("get pods/log", False)
    assert "logs cannot be archived" in finding.detail
    monkeypatch.setenv("HEADRACE_KUBECONFIG", str(site.cluster.kubeconfig))
    assert all(each.ok for each in await examine_cluster())


async def test_doctor_says_when_more_is_admitted_than_the_namespace_has_room_for(
    site, monkeypatch: pytest.MonkeyPatch
):
    """Rule 16: the pool `global`, which may be set while everything runs, lies below the quota."""
    hard = {"spec": {"hard": {"pods": "5"}}}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, **hard}
    await site.kubectl("apply", "-f", "-", given=json.dumps(quota))
    for name in ("executors", "kubeconfig", "kubernetes_namespace", "prefix"):
        monkeypatch.setenv(f"HEADRACE_{name.upper()}", str(getattr(site.settings, name)))
    monkeypatch.setenv("HEADRACE_REDIS_URL", site.settings.redis_url.get_secret_value())
    (bad,) = [each for each in await examine_cluster() if each.check == "quota"]
    assert not bad.ok
    assert "10000 slots, the quota small 5 pods" in bad.detail
    await site.store.pools.put("global", 4)
    assert all(each.ok for each in await examine_cluster())
