"""What the cluster says of a launch becomes one fact: it goes on, it waits, or it ended so (rules 11-13)."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.signals import exit_of
from app.core.tasks import Task
from app.errors import NotFound, Unavailable
from workers.executors.kubernetes.client import ClusterError
from workers.executors.kubernetes.executor import refusal
from workers.executors.kubernetes.reasons import (
    OVERDUE,
    OVERDUE_MS,
    UNREACHABLE,
    Waiting,
    created_ms,
    ended,
    gone,
    hindrance,
    of_lost_machine,
    slim,
    started,
    waiting,
)

TASK = Task("r1", "price", 1, 0)
JOB: dict[str, Any] = {"metadata": {"name": "hr-price-1"}, "status": {"active": 1}}
FAILED: dict[str, Any] = {
    "status": {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
}


def pod(
    phase: str, state: dict[str, Any], *, conditions: tuple[Any, ...] = (), **metadata: Any
) -> dict[str, Any]:
    """A pod whose container is in that state."""
    return {
        "metadata": {"uid": "u1", "creationTimestamp": "2026-01-01T00:00:00Z", **metadata},
        "status": {
            "phase": phase,
            "conditions": list(conditions),
            "containerStatuses": [{"name": "node", "state": state}],
        },
    }


def over(code: int, **more: Any) -> dict[str, Any]:
    phase = "Failed" if code else "Succeeded"
    return pod(phase, {"terminated": {"exitCode": code, **more}})


def test_a_running_container_has_started_and_is_no_end():
    running = pod("Running", {"running": {"startedAt": "2026-01-01T00:00:00Z"}})
    assert started(running)
    assert waiting(running) is None
    assert ended(TASK, JOB, [running]) is None


def test_an_exit_with_0_carries_the_json_that_the_program_left():
    assert ended(TASK, JOB, [over(0, message='{"n":1}')]) == exit_of(TASK, code=0, output='{"n":1}')


def test_metadata_that_is_no_json_fails_the_attempt():
    end = ended(TASK, JOB, [over(0, message="hello")])
    assert end is not None
    assert (end.type, end.infra) == ("bad_output", False)


def test_another_exit_code_ends_the_attempt_and_is_no_infrastructure_fault():
    assert ended(TASK, JOB, [over(3, reason="Error")]) == exit_of(TASK, code=3)


def test_memory_past_the_limit_is_named():
    end = ended(TASK, JOB, [over(137, reason="OOMKilled")])
    assert end is not None
    assert (end.code, end.type, end.infra) == (137, "OOMKilled", False)


DISRUPTED = pod(
    "Failed",
    {"terminated": {"exitCode": 137}},
    conditions=({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"},),
)


def test_a_disrupted_pod_is_no_end_while_its_job_goes_on():
    assert ended(TASK, JOB, [DISRUPTED]) is None


def test_a_disrupted_pod_of_a_failed_job_is_an_infrastructure_fault():
    end = ended(TASK, FAILED, [DISRUPTED])
    assert end is not None
    assert end.infra
    assert "EvictionByEvictionAPI" in end.message


def test_a_pod_that_someone_deleted_is_an_infrastructure_fault():
    deleted = pod("Failed", {"terminated": {"exitCode": 143}}, deletionTimestamp="2026-01-01T00:00:01Z")
    end = ended(TASK, JOB, [deleted])
    assert end is not None
    assert (end.type, end.infra) == ("lost", True)


@pytest.mark.parametrize(("code", "reason"), [(255, "Unknown"), (137, "ContainerStatusUnknown")])
def test_a_container_that_its_machine_lost_by_starting_anew_is_an_infrastructure_fault(
    code: int, reason: str
):
    """Fault row 25: what kubelet and containerd say of a container that ran before the machine was started anew."""
    end = ended(TASK, FAILED, [over(code, reason=reason)])
    assert end is not None
    assert (end.type, end.infra) == ("lost", True)


def test_a_program_that_exits_with_255_by_itself_has_failed():
    end = ended(TASK, FAILED, [over(255, reason="Error")])
    assert end is not None
    assert (end.type, end.infra, end.code) == ("", False, 255)


def test_a_failed_job_without_a_pod_and_a_deleted_job_are_infrastructure_faults():
    end = ended(TASK, FAILED, [])
    assert end is not None
    assert end.infra
    assert gone(TASK).infra


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"])
def test_a_container_that_cannot_begin_says_why(reason: str):
    assert waiting(pod("Pending", {"waiting": {"reason": reason, "message": "no"}})) == Waiting(reason, "no")


def test_a_pod_without_a_machine_is_unschedulable():
    no_room = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    assert waiting(pod("Pending", {}, conditions=(no_room,))) == Waiting("Unschedulable", "0/1 nodes")


def test_a_container_that_is_being_made_waits_for_nothing_unusual():
    assert waiting(pod("Pending", {"waiting": {"reason": "ContainerCreating"}})) is None


def test_a_full_namespace_and_an_api_server_that_is_away_are_waited_for():
    assert refusal(ClusterError(403, "Forbidden", "exceeded quota: jobs")).reason == "QuotaExceeded"
    assert refusal(ClusterError(429, "TooManyRequests", "later")).reason == "ClusterUnavailable"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_rights_that_are_missing_are_waited_for_and_it_says_who_knows_which(status: int):
    found = refusal(ClusterError(status, "", "jobs.batch is forbidden"))
    assert found.reason == "ClusterUnavailable"
    assert "jobs.batch is forbidden; `headrace doctor`" in found.message


@pytest.mark.parametrize(
    "who", ['admission webhook "a.b.c" denied the', "ValidatingAdmissionPolicy 'a' with binding 'b' denied"]
)
def test_what_a_rule_of_the_cluster_denies_is_no_fault_of_the_node(who: str):
    with pytest.raises(Unavailable):
        refusal(ClusterError(403, "Forbidden", f'jobs.batch "j" is forbidden: {who} request: not here'))


def test_a_job_that_the_cluster_can_never_take_is_not_tried_again():
    with pytest.raises(NotFound):
        refusal(ClusterError(422, "Invalid", "spec.template.spec.containers[0].image: Required value"))


EVICTION = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}


def test_a_pod_that_was_taken_away_is_no_end_and_its_launch_waits_for_another():
    taken = pod("Failed", {"terminated": {"exitCode": 143}}, conditions=(EVICTION,))
    assert ended(TASK, JOB, [taken]) is None
    found = hindrance([taken], "")
    assert found is not None
    assert found.reason == "Disrupted"
    follower = pod("Running", {"running": {}}, uid="u2", creationTimestamp="2026-01-01T00:01:00Z")
    assert hindrance([taken, follower], "") is None


def test_a_pod_that_ended_well_although_it_was_to_be_taken_away_has_ended_well():
    done = pod("Succeeded", {"terminated": {"exitCode": 0, "message": "[1]"}}, conditions=(EVICTION,))
    assert ended(TASK, JOB, [done]) == exit_of(TASK, code=0, output="[1]")


def test_a_job_whose_pods_are_refused_says_so_until_it_has_one():
    assert hindrance([], 'pods "a" is forbidden: exceeded quota: small') == Waiting(
        "QuotaExceeded", 'pods "a" is forbidden: exceeded quota: small'
    )
    assert hindrance([pod("Running", {"running": {}})], "exceeded quota: small") is None


def test_what_is_kept_of_an_object_says_the_same_as_all_of_it():
    whole = over(137, reason="OOMKilled") | {"spec": {"containers": [{"name": "node"}]}}
    assert ended(TASK, slim(JOB), [slim(whole)]) == ended(TASK, JOB, [whole])


# machines that are lost (fault row 25) ----------------------------------------------------------------------------

NOT_READY = {"type": "Ready", "status": "False"}
"""As the cluster puts it on the pods of a machine that it does not hear of: without a reason."""
GRACE_ENDS = "2026-01-01T00:01:00Z"
LATE = created_ms({"metadata": {"creationTimestamp": GRACE_ENDS}}) or 0


def on_machine(pod: dict[str, Any], name: str = "m1") -> dict[str, Any]:
    return {**pod, "spec": {"nodeName": name}}


def test_a_pod_on_a_machine_that_the_cluster_does_not_hear_of_runs_for_all_that_is_known_and_it_is_said():
    silent = on_machine(pod("Running", {"running": {}}, conditions=(NOT_READY,)))
    found = hindrance([silent], "")
    assert found is not None
    assert (found.reason, "'m1'" in found.message) == (UNREACHABLE, True)
    assert ended(TASK, JOB, [silent]) is None


def test_a_pod_whose_machine_says_why_it_is_not_ready_is_heard_of():
    told = {**NOT_READY, "reason": "ContainersNotReady"}
    assert hindrance([pod("Running", {"running": {}}, conditions=(told,))], "") is None


def test_a_pod_that_should_be_gone_and_is_not_confirmed_to_be_keeps_its_slots():
    taken = on_machine(pod("Running", {"running": {}}, conditions=(EVICTION,), deletionTimestamp=GRACE_ENDS))
    within = hindrance([taken], "", LATE + OVERDUE_MS - 1)
    assert within is not None
    assert within.reason == "Disrupted"
    found = hindrance([taken], "", LATE + OVERDUE_MS)
    assert found is not None
    assert (found.reason, GRACE_ENDS in found.message) == (OVERDUE, True)
    assert ended(TASK, JOB, [taken]) is None


def test_a_pod_that_has_ended_waits_for_no_machine():
    over = pod(
        "Failed", {"terminated": {"exitCode": 143}}, conditions=(EVICTION,), deletionTimestamp=GRACE_ENDS
    )
    found = hindrance([over], "", LATE + OVERDUE_MS)
    assert found is not None
    assert found.reason == "Disrupted"


def test_only_an_infrastructure_fault_is_laid_to_a_lost_machine():
    assert of_lost_machine(gone(TASK)).type == "machine_lost"
    assert of_lost_machine(exit_of(TASK, code=3)) == exit_of(TASK, code=3)


def test_what_is_kept_of_a_pod_on_a_lost_machine_says_the_same_as_all_of_it():
    whole = on_machine(pod("Running", {"running": {}}, deletionTimestamp=GRACE_ENDS))
    assert hindrance([slim(whole)], "", LATE + OVERDUE_MS) == hindrance([whole], "", LATE + OVERDUE_MS)
