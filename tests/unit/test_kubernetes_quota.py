"""We admit below the quota of the namespace ourselves; doctor says where we do not (rule 16)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from app.cli.commands.doctor import judge_room
from workers.executors.kubernetes.quota import Limit, limits

BASE = Path(__file__).parents[2] / "k8s" / "base"
SLOTS = "HEADRACE_GLOBAL_SLOTS="


def quota(hard: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": hard, **spec}}


def test_what_each_node_run_has_one_of_is_a_limit():
    hard = {"pods": "2k", "count/jobs.batch": "500", "requests.cpu": "1", "services": "0"}
    assert limits([quota(hard)]) == [Limit("small", "pods", 2000), Limit("small", "count/jobs.batch", 500)]


def test_a_quota_for_some_pods_only_is_no_limit():
    assert limits([quota({"pods": "1"}, scopes=["BestEffort"]), {"metadata": {"name": "new"}}]) == []


def test_slots_below_every_quota_are_well():
    assert [each.ok for each in judge_room([Limit("small", "pods", 5), Limit("other", "pods", 9)], 4)] == [
        True,
        True,
    ]


def test_slots_that_a_quota_cannot_hold_are_told_with_how_to_mend_it():
    (finding,) = judge_room([Limit("small", "pods", 5)], 5)
    assert not finding.ok
    assert "below 5" in finding.detail
    assert "headrace pool set global" in finding.detail


def test_the_manifests_admit_less_than_their_quota():
    documents = yaml.safe_load_all((BASE / "jobs.yaml").read_text("utf-8"))
    found = limits(each for each in documents if each["kind"] == "ResourceQuota")
    (generated,) = yaml.safe_load((BASE / "kustomization.yaml").read_text("utf-8"))["configMapGenerator"]
    (slots,) = (each.removeprefix(SLOTS) for each in generated["literals"] if each.startswith(SLOTS))
    assert {each.resource for each in found} == {"pods", "count/jobs.batch"}
    assert all(each.ok for each in judge_room(found, int(slots)))
