"""Why: everything that goes on gives at least one reason, and so does every end, whatever the history."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.reasons import WHY_FIELDS, Code, Facts, Reason, Record, RunRecord
from app.core.states import NODE_TERMINAL, RUN_TERMINAL, RunStatus
from app.core.why import why_node, why_run
from tests.unit.core.test_model import PARAMS, Oracle, Plan, Simulation, plans

ENDS = {Code.SUCCEEDED, Code.FAILED, Code.BLOCKED, Code.SKIPPED, Code.CANCELLED}


def record(world: Any, ref: str) -> Record:
    found = world.nodes.get(ref, {})
    return Record.parse([found.get(name) for name in WHY_FIELDS])


def records(world: Any) -> dict[str, Record]:
    """Of all nodes and of the items that have begun."""
    return {ref: record(world, ref) for ref in {**dict.fromkeys(world.graph.index), **world.nodes}}


def run_of(world: Any) -> RunRecord:
    get = world.run.get
    return RunRecord("r1", RunStatus(get("s").decode()), int(get("c")), int(get("b", 0)), int(get("z", 0)),
                     error=orjson.loads(get("x")) if get("x") else None)  # fmt: skip


def codes(reasons: list[Reason]) -> list[str]:
    return [str(reason.code) for reason in reasons]


def ask(world: Any, ref: str, **facts: Any) -> list[Reason]:
    return why_node(world.graph, run_of(world), ref, records(world), Facts(world.now, **facts))


class Asking(Simulation):
    """Asks everything why after every act."""

    asked = 0

    def _act(self, act: Any) -> None:
        act()
        found, run, facts = records(self.world), run_of(self.world), Facts(self.world.now)
        ended = run.status in RUN_TERMINAL
        mine = why_run(self.world.graph, run, found, facts)
        assert mine
        assert (mine[0].code in ENDS) == ended, mine
        for ref, each in found.items():
            reasons = why_node(self.world.graph, run, ref, found, facts)
            assert reasons, (ref, each)
            assert (reasons[0].code in ENDS) == (each.status in NODE_TERMINAL), (ref, each, reasons)
            assert all(reason.detail and reason.since <= facts.now for reason in reasons)
            assert orjson.dumps([reason.shown() for reason in reasons])
            self.asked += 1

    def run(self) -> None:
        for name in ("_decide", "_admit", "_go_on", "_repeat", "_look", "_pass_time"):
            act = getattr(self, name)
            setattr(self, name, lambda act=act: self._act(act))
        super().run()


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(plans(), st.randoms(use_true_random=False))
def test_everything_has_a_reason_at_every_moment_of_any_history(world, plan: Plan, order: random.Random):
    run = world(plan.document, PARAMS, begun=False)
    simulation = Asking(run, plan, Oracle(plan), random.Random(order.random()))
    simulation.run()
    assert simulation.asked


def test_a_pending_node_names_what_it_waits_for(world):
    run = world({"a": {"type": "step"}, "b": {"type": "step"}, "z": {"type": "step", "needs": ["a", "b"]}})
    (reason,) = ask(run, "z")
    assert reason.code is Code.DEPENDENCY
    assert reason.more["nodes"] == [{"node": "a", "status": "ready"}, {"node": "b", "status": "ready"}]


def test_a_ready_node_names_the_pool_and_who_holds_it_then_its_turn(world):
    run = world({"a": {"type": "step"}})
    lack = {"pool": "db", "slots": 2, "used": 2, "holders": [{"run": "r9", "node": "x"}]}
    found = ask(run, "a", place={"ahead": 7, "lacks": [lack]}, placed="a")
    assert codes(found) == ["pool", "turn"]
    assert found[0].more["holders"] == lack["holders"]
    assert "7 node runs go first" in found[1].detail
    assert ask(run, "a", place={"ahead": 1}, placed="a")[0].detail == "1 node run goes first"


def test_without_a_worker_and_without_a_durable_store_that_is_said_too(world):
    run = world({"a": {"type": "step"}})
    assert codes(ask(run, "a", workers=0, findings=["appendonly is no"])) == [
        "turn",
        "no_worker",
        "not_durable",
    ]


def test_a_starting_node_tells_the_reason_of_its_executor_for_this_launch_only(world):
    run = world({"a": {"type": "step"}})
    run.admit(("a", 1, 0))
    told = {"code": "ImagePullBackOff", "detail": "no such image", "since": run.now, "a": 1, "l": 0}
    run.nodes["a"]["er"] = orjson.dumps(told)
    assert codes(ask(run, "a")) == ["executor", "starting"]
    run.nodes["a"]["er"] = orjson.dumps(told | {"l": 1})
    assert codes(ask(run, "a")) == ["starting"]


def test_a_back_off_tells_until_when_and_what_failed(world):
    run = world({"a": {"type": "step"}})
    task = run.launch("a")
    run.exit(task, code=3)
    run.settle()
    (reason,) = ask(run, "a")
    assert reason.code is Code.BACK_OFF
    assert "exit code 3" in reason.detail
    assert reason.more["until"]


def test_a_map_counts_its_items_and_one_that_has_not_begun_names_the_limit(world):
    run = world({"m": {"type": "step", "map": {"over": [1, 2, 3], "max_parallel": 1}}})
    assert codes(ask(run, "m")) == ["items", "turn"]
    (reason,) = ask(run, "m:2")
    assert (reason.code, reason.more) == (Code.MAX_PARALLEL, {"live": 1, "max_parallel": 1})


def test_a_blocked_node_leads_down_to_the_failure(world):
    run = world({"a": {"type": "step", "retry": {"max_attempts": 1}}, "b": {"type": "step", "needs": ["a"]},
                 "c": {"type": "step", "needs": ["b"]}})  # fmt: skip
    run.exit(run.launch("a"), code=3)
    run.settle()
    found = ask(run, "c")
    assert codes(found) == ["blocked", "failed"]
    assert (found[1].more["node"], found[1].more["error"]["message"]) == ("a", "exit code 3")


def test_a_failed_run_leads_to_its_first_failure(world):
    run = world({"a": {"type": "step", "retry": {"max_attempts": 1}}, "b": {"type": "step", "needs": ["a"]}})
    run.exit(run.launch("a"), code=3)
    run.settle()
    found = why_run(run.graph, run_of(run), records(run), Facts(run.now))
    assert codes(found) == ["failed", "failed", "blocked"]
    assert found[0].detail == "node 'a' failed: exit code 3"


def test_a_trigger_that_still_waits_and_a_paused_run(world):
    run = world({"a": {"type": "step"}})
    queued = RunRecord("r1", RunStatus.QUEUED, run.now, taken=False)
    assert codes(why_run(run.graph, queued, {}, Facts(run.now, triggers=9))) == ["trigger_queued"]
    paused = RunRecord("r1", RunStatus.RUNNING, run.now, run.now, paused=run.now)
    assert codes(why_node(run.graph, paused, "a", records(run), Facts(run.now)))[0] == "paused"


@pytest.mark.parametrize("code", list(Code))
def test_every_code_is_documented(code: Code):
    text = Path(__file__).parents[3].joinpath("docs/reference/why.md").read_text()
    assert re.search(rf"^\| `{code}` \|", text, re.M)
