"""The oracle of Jobs tells a Job that was made twice from a launch that came after another, and sees what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from app.core.tasks import Task
from app.joblogs import JobLog
from app.objects import Objects
from loadtests.job_ledger import Again, Ledger, Made
from loadtests.oracle import Verdict
from tests.cluster import simulated
from workers.executors.kubernetes.client import Cluster

FIRST, SECOND = Task("r1", "fan:0", 1, 0), Task("r1", "fan:0", 1, 1)
ALL = {("r1", "fan:0"): "succeeded"}


class Nowhere:
    def url(self, *_parts: str) -> str:
        return ""


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(cast("Cluster", Nowhere()))


def made(task: Task, *, settled: bool = True, gone: bool = False) -> Made:
    return Made(task, "hr-fan", "archived", ended=True, settled=settled, gone=gone)


def blamed(
    ledger: Ledger, node_runs: dict[tuple[str, str], str] = ALL, again: tuple[Again, ...] = ()
) -> list[str]:
    verdict = Verdict()
    ledger.judge(node_runs, list(again), verdict)
    return [each.rule for each in verdict.violations]


def test_a_job_for_each_node_run_is_as_it_should_be(ledger: Ledger):
    ledger.made = {"u1": made(FIRST)}
    assert blamed(ledger) == []


def test_two_jobs_of_one_launch_are_one_too_many(ledger: Ledger):
    ledger.made = {"u1": made(FIRST, gone=True), "u2": made(FIRST)}
    assert ledger.doubled() == {FIRST: 2}
    assert "one Job for each launch" in blamed(ledger)


def test_a_second_launch_is_no_double_and_tells_its_reason(ledger: Ledger):
    ledger.made = {"u1": made(FIRST), "u2": made(SECOND)}
    assert (ledger.doubled(), ledger.later()) == ({}, [SECOND])
    assert blamed(ledger, again=(Again(SECOND, "lost"),)) == [
        "a worker's death costs neither attempt nor launch"
    ]


@pytest.mark.parametrize(
    ("state", "rule"),
    [
        ({"settled": False}, "each Job has its log archived, then a TTL"),
        ({"gone": True}, "a Job stays for its TTL"),
    ],
)
def test_a_job_without_its_log_or_before_its_time_gone_is_seen(
    ledger: Ledger, state: dict[str, bool], rule: str
):
    ledger.made = {"u1": made(FIRST, **state)}
    assert blamed(ledger) == [rule]


def test_a_node_run_that_failed_or_never_had_a_job_and_a_job_of_nobody_are_seen(ledger: Ledger):
    ledger.made = {"u1": made(FIRST)}
    assert blamed(ledger, {("r1", "fan:0"): "failed"}) == ["every node run succeeds"]
    assert blamed(ledger, {**ALL, ("r1", "last"): "succeeded"}) == ["every node run had a Job"]
    assert blamed(ledger, {}) == ["every Job belongs to a node run"]


async def test_a_log_that_is_not_there_or_not_whole_is_seen(ledger: Ledger, tmp_path: Path):
    whole, short, lost = (Task("r1", f"fan:{number}", 1, 0) for number in range(3))
    ledger.made = {task.ref: made(task) for task in (whole, short, lost)}
    objects, verdict = Objects(f"file:{tmp_path}"), Verdict()
    for task, text in ((whole, simulated.LOG), (short, "")):
        log = JobLog(objects, *task)
        await log.write("pod", 0, text.replace(" stdout F", "").encode())
        await log.archive()
    await ledger.judge_logs(f"file:{tmp_path}", verdict)
    assert {each.rule: each.id for each in verdict.violations} == {
        "an archived log is whole": short.encode(),
        "what is said to be archived is there": lost.encode(),
    }
