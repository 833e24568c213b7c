"""decide() against an oracle: whatever the order in which things happen, every node ends as DESIGN section 5 says.

The oracle walks the graph once, in order, and knows nothing of signals, rounds or commits. The simulation makes things
happen in a random order: decisions of any size, two claimants at once, duplicated signals, late timers, a commit budget
of a few node runs.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core import decide as decide_module
from app.core import round as round_module
from app.core.decide import decide
from app.core.signals import Signal, SignalKind

PARAMS = {"yes": True, "no": False, "number": 7}
MAX_ATTEMPTS, INFRA_BUDGET = 2, 10
GOOD = ("finalized", "exited", "late", "plain")
BAD = ("failed", "exit 1", "exit 42", "final", "incomplete", "silent", "stuck", "lost")
FINAL = ("exit 42", "final")


# what a workflow is made of ---------------------------------------------------------------------------------------


@st.composite
def fates(draw: st.DrawFn) -> list[str]:
    """How the launches of one node run end, in order; after the last, well."""
    bad = draw(st.lists(st.sampled_from(BAD), max_size=3))
    return [*bad, draw(st.sampled_from(GOOD))]


@dataclass
class Plan:
    document: dict[str, Any] = field(default_factory=dict[str, Any])
    fates: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    output: str | None = None


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    plan, names = Plan(), [f"n{i}" for i in range(draw(st.integers(1, 40)))]
    for position, name in enumerate(names):
        upstream = (
            draw(st.lists(st.sampled_from(names[:position]), unique=True, max_size=4)) if position else []
        )
        plan.document[name] = draw(nodes(upstream))
        items = plan.document[name].get("map", {}).get("over", [])
        for ref in [name, *(f"{name}:{i}" for i in range(len(items)))]:
            plan.fates[ref] = draw(fates())
    plan.output = draw(st.none() | st.sampled_from(names))
    return plan


@st.composite
def nodes(draw: st.DrawFn, upstream: list[str]) -> dict[str, Any]:
    join = draw(st.sampled_from(["all_succeeded", "all_done", "any_succeeded", "none_failed"]))
    anytime = (
        join == "any_succeeded"
    )  # such a node may become ready before the others are terminal: it reads no state
    node: dict[str, Any] = {"join": join, "needs": [draw(edges(name, anytime)) for name in upstream]}
    if draw(st.booleans()) and draw(st.booleans()):
        reads = [] if anytime else [f"nodes.{name}.status == 'succeeded'" for name in upstream]
        node["when"] = draw(
            st.sampled_from(["params.yes", "params.no", "params.number", "params.nothing", *reads])
        )
    match draw(st.sampled_from(["task", "task", "task", "map", "wait"])):
        case "wait":
            return node | {"wait": {"duration": draw(st.sampled_from(["0s", "90s"]))}}
        case "map":
            over = draw(st.lists(st.sampled_from([{"k": 1}, {}]), max_size=5))
            spec: dict[str, Any] = {"over": over, "tolerate": draw(st.sampled_from([0.0, 0.5]))}
            if draw(st.booleans()):
                spec["max_parallel"] = draw(st.integers(1, 3))
            node |= {"map": spec, "config": {"k": "${{ item.k }}"} if draw(st.booleans()) else {}}
        case _:
            node["config"] = draw(st.sampled_from([{}, {}, {}, {"x": "${{ params.nothing }}"}]))
    node |= {"type": "step", "allow_failure": draw(st.booleans()),
             "retry": {"max_attempts": MAX_ATTEMPTS, "initial": "1s"}}  # fmt: skip
    return node


@st.composite
def edges(draw: st.DrawFn, upstream: str, anytime: bool) -> str | dict[str, str]:
    if draw(st.integers(0, 3)):
        return upstream
    status = [f"nodes.{upstream}.status == '{status}'" for status in ("succeeded", "failed", "skipped")]
    breaking = [] if anytime else [f"nodes.{upstream}.metadata.v == 1", "params.nothing"]
    return {"node": upstream, "when": draw(st.sampled_from(["params.yes", "params.no", *status, *breaking]))}


# the oracle -------------------------------------------------------------------------------------------------------


class Broken(Exception):
    """An expression reads what does not exist."""


class Oracle:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.status: dict[str, str] = {}
        self.metadata: dict[str, Any] = {}
        for name, node in plan.document.items():
            self.status[name] = self._node(name, node)

    @property
    def run(self) -> str:
        failed = any(status == "failed" and not self.plan.document[name].get("allow_failure")
                     for name, status in self.status.items() if ":" not in name)  # fmt: skip
        if not failed and self.plan.output and "count" not in (self.metadata.get(self.plan.output) or {}):
            return "failed"  # its output reads what is not there
        return "failed" if failed else "succeeded"

    def _node(self, name: str, node: dict[str, Any]) -> str:
        try:
            verdict = self._join(node)
            if verdict == "run" and "when" in node and not self._true(node["when"]):
                verdict = "skipped"
        except Broken:
            return "failed"
        return self._work(name, node) if verdict == "run" else verdict

    def _join(self, node: dict[str, Any]) -> str:
        ends = [self._end(need) for need in node["needs"]]
        bad, skipped = "bad" in ends, "skipped" in ends
        match node["join"]:
            case _ if not ends:
                return "run"
            case "all_done":
                return "run"
            case "any_succeeded":
                return "run" if "good" in ends else "blocked" if bad else "skipped"
            case "none_failed":
                return "blocked" if bad else "run"
            case _:
                return "blocked" if bad else "skipped" if skipped else "run"

    def _end(self, need: str | dict[str, str]) -> str:
        name = need if isinstance(need, str) else need["node"]
        if not isinstance(need, str) and not self._true(need["when"]):
            return "skipped"
        status = self.status[name]
        if status == "succeeded" or (status == "failed" and self.plan.document[name].get("allow_failure")):
            return "good"
        return "skipped" if status == "skipped" else "bad"

    def _true(self, source: str) -> bool:
        left, _, right = source.partition(" == ")
        root, name, *path = left.split(".") if right else [*source.split("."), ""]
        if root == "params":
            value = PARAMS.get(name)
            if not isinstance(value, bool):
                raise Broken
            return value
        if path == ["status"]:
            return self.status[name] == right.strip("'")
        metadata = self.metadata.get(name)
        if not isinstance(metadata, dict) or "v" not in metadata:
            raise Broken
        return str(metadata["v"]) == right

    def _work(self, name: str, node: dict[str, Any]) -> str:
        if "wait" in node:
            return "succeeded"
        if "map" in node:
            return self._map(name, node)
        if "${{" in str(node["config"]):
            return "failed"
        return self._launches(name)

    def _map(self, name: str, node: dict[str, Any]) -> str:
        items: list[Any] = node["map"]["over"]
        for index, item in enumerate(items):
            broken = bool(node["config"]) and "k" not in item
            self.status[f"{name}:{index}"] = "failed" if broken else self._launches(f"{name}:{index}")
        good = [index for index in range(len(items)) if self.status[f"{name}:{index}"] == "succeeded"]
        bad = len(items) - len(good)
        self.metadata[name] = {"count": len(items), "succeeded": len(good), "failed": bad,
                               "items": [self.metadata.get(f"{name}:{i}") for i in range(len(items))]}  # fmt: skip
        return "failed" if bad > node["map"]["tolerate"] * len(items) else "succeeded"

    def _launches(self, ref: str) -> str:
        attempts = faults = 0
        for fate in self.plan.fates[ref]:
            if fate in GOOD:
                break
            if fate == "lost":
                faults += 1
            else:
                attempts += 1
            if fate in FINAL or attempts == MAX_ATTEMPTS or faults > INFRA_BUDGET:
                return "failed"
        self.metadata[ref] = {"v": len(ref) % 3}
        return "succeeded"


# the simulation ---------------------------------------------------------------------------------------------------


class Simulation:
    """Makes what can happen happen, in an order of its own, until nothing is left."""

    def __init__(self, world: Any, plan: Plan, oracle: Oracle, order: random.Random) -> None:
        self.world, self.plan, self.oracle, self.order = world, plan, oracle, order
        self.processes: dict[tuple[str, int, int], list[str]] = {}
        """What each live process will still do."""
        self.launches: dict[str, int] = {}
        self.said: list[Signal] = []
        """Signals that a client may repeat, since it never saw the answer."""
        self.refused = 0

    def run(self) -> None:
        for _ in range(200_000):
            world = self.world
            acts = [self._decide] * bool(world.inbox) + [self._admit] * bool(world.ready)
            acts += [self._go_on] * bool(self._moving())
            if acts and self.order.random() < 0.1:
                acts = [self._repeat, self._look]
            if not acts and not world.timers:
                return
            self.order.choice(acts or [self._pass_time])()
        raise AssertionError("the run does not come to an end")

    def _decide(self) -> None:
        world, order = self.world, self.order
        view, signals = world.load(order.choice([1, 2, 5, 500]), whole=order.random() < 0.5)
        revision = view.run.revision
        changes = decide(view, signals, world.now, order.random())
        if order.random() < 0.2:  # another claimant is faster, or the node runs move on meanwhile
            self.order.choice([self._steal, *[self._go_on] * bool(self._moving())])()
        self.refused += not world.commit(view, revision, changes)

    def _steal(self) -> None:
        self.world.step(self.order.choice([1, 2, 500]))

    def _admit(self) -> None:
        task = self.order.choice(self.world.ready)
        self.world.admit(task)
        number = self.launches[task[0]] = self.launches.get(task[0], -1) + 1
        fate = self.plan.fates[task[0]][number]
        self.processes[task] = {
            "finalized": ["launched", "start", "output", "finalize", "gone 0"], "exited": ["start", "output", "gone 1"],
            "late": ["launched", "start", "output", "gone silently"], "plain": ["launched", "gone 0"],
            "failed": ["start", "fail", "gone 1"], "final": ["start", "fail for good", "gone 1"],
            "exit 1": ["start", "gone 1"], "exit 42": ["gone 42"], "incomplete": ["start", "gone 0"],
            "silent": ["start", "hang", "gone -9"], "stuck": ["launched", "hang", "gone -9"],
            "lost": self.order.choice([["gone nowhere"], ["start", "gone nowhere"]]),
        }[fate]  # fmt: skip
        self.processes[task] = list(self.processes[task])

    def _moving(self) -> list[tuple[str, int, int]]:
        """Live processes; one that hangs goes on when its timer has told that it must be stopped."""
        return [task for task, acts in self.processes.items()
                if acts[0] != "hang" or self.world.nodes[task[0]].get("t")]  # fmt: skip

    def _go_on(self) -> None:
        task = self.order.choice(self._moving())
        ref, attempt, launch = task
        world, acts = self.world, self.processes[task]
        metadata = {"v": len(ref) % 3}
        match acts[0].split(" ", 1):
            case ["launched"]:
                world.launched(ref)
            case ["start"]:
                world.start(ref)
            case ["output"]:
                world.output(ref, metadata)
            case ["finalize"]:
                world.finalize(ref)
            case ["fail", *final]:
                self._say(Signal(SignalKind.FAIL, ref, attempt=attempt, type="Broken", retryable=not final))
            case ["hang"] | ["gone", "silently"]:
                pass
            case ["gone", "nowhere"]:
                world.exit(task, type="lost", infra=True)
                self.said.append(
                    Signal(SignalKind.EXIT, ref, attempt=attempt, launch=launch, type="lost", infra=True)
                )
            case ["gone", code]:
                output = f'{{"v":{metadata["v"]}}}' if code == "0" else None
                world.exit(task, code=int(code), output=output)
                self.said.append(Signal(SignalKind.EXIT, ref, attempt=attempt, launch=launch, code=int(code)))
            case _:
                raise AssertionError(acts)
        del acts[0]
        if not acts:
            del self.processes[task]

    def _say(self, signal: Signal) -> None:
        self.world.push(signal)
        self.said.append(signal)

    def _repeat(self) -> None:
        if self.said:
            self.world.push(self.order.choice(self.said))

    def _look(self) -> None:
        """A timer that comes too early, or for a node run that has none."""
        self.world.push(Signal(SignalKind.DUE, self.order.choice(list(self.plan.fates))))

    def _pass_time(self) -> None:
        world = self.world
        world.now = max(world.now, min(world.timers.values()))
        for ref in [ref for ref, ms in world.timers.items() if ms <= world.now]:
            world.fire(ref)


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(plans(), st.randoms(use_true_random=False), st.sampled_from([1, 2, 3, 7, 500]))
def test_every_node_and_the_run_end_as_the_design_says(world, plan: Plan, order: random.Random, most: int):
    output = (
        {} if plan.output is None else {"output": {"x": f"${{{{ nodes.{plan.output}.metadata.count }}}}"}}
    )
    oracle = Oracle(plan)
    run = world(plan.document, PARAMS, begun=False, **output)
    before = round_module.MAX_CHANGES
    round_module.MAX_CHANGES = decide_module.MAX_CHANGES = most
    try:
        Simulation(run, plan, oracle, random.Random(order.random())).run()
    finally:
        round_module.MAX_CHANGES = decide_module.MAX_CHANGES = before
    assert {ref: run.status(ref) for ref in oracle.status} == oracle.status
    assert {name: run.metadata(name) for name in oracle.metadata} == oracle.metadata
    assert run.result == oracle.run
    assert run.largest <= most + 2
    run.check_ended()


# runs that end before their time ----------------------------------------------------------------------------------


class Interrupted(Simulation):
    """At some moment someone cancels the run, or its time is over; a process that is told to stop may do so or not."""

    def __init__(self, *given: Any, after: int) -> None:
        super().__init__(*given)
        self.left = after
        self.began_after: list[str] = []

    def _decide(self) -> None:
        self.left -= 1
        if self.left == 0:
            self._interrupt()
        ended = self.world.run.get("e") in (b"cancelled", b"timeout")
        known = len(self.world.events)
        super()._decide()
        if ended:
            fresh = [event for event in self.world.events[known:] if event.get("from") == "pending"]
            self.began_after += [event["node"] for event in fresh if event["to"] not in ("cancelled",)]

    def _interrupt(self) -> None:
        for _ in range(2):
            self.world.push(Signal(SignalKind.CANCEL))

    def _go_on(self) -> None:
        for task, acts in self.processes.items():
            told = self.world.nodes[task[0]].get("t") == b"cancelled"
            if told and acts[0] not in ("gone -15", "finalize") and self.order.random() < 0.7:
                acts[:] = ["gone -15"]
        super()._go_on()


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(plans(), st.randoms(use_true_random=False), st.sampled_from([1, 3, 500]), st.integers(1, 60))
def test_a_cancelled_run_ends_whole_and_begins_nothing_more(
    world, plan: Plan, order: random.Random, most: int, after: int
):
    oracle, run = Oracle(plan), world(plan.document, PARAMS, begun=False)
    before = round_module.MAX_CHANGES
    round_module.MAX_CHANGES = decide_module.MAX_CHANGES = most
    try:
        simulation = Interrupted(run, plan, oracle, random.Random(order.random()), after=after)
        simulation.run()
    finally:
        round_module.MAX_CHANGES = decide_module.MAX_CHANGES = before
    if run.run["s"] == b"cancelled" and not run.nodes:
        return  # before it began
    run.check_ended()
    asked = simulation.left <= 0 and run.run.get("e") == b"cancelled"
    assert run.result == ("failed" if int(run.run["f"]) else "cancelled" if asked else "succeeded")
    assert simulation.began_after == []
    for ref, status in oracle.status.items():
        assert run.status(ref) in {status, "cancelled", *(("pending",) if ":" in ref else ())}, ref


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(plans(), st.randoms(use_true_random=False), st.sampled_from([1, 3, 500]))
def test_after_the_first_failure_only_clean_up_is_left(world, plan: Plan, order: random.Random, most: int):
    run = world(plan.document, PARAMS, begun=False, on_failure="fail")
    before = round_module.MAX_CHANGES
    round_module.MAX_CHANGES = decide_module.MAX_CHANGES = most
    try:
        Interrupted(run, plan, Oracle(plan), random.Random(order.random()), after=0).run()
    finally:
        round_module.MAX_CHANGES = decide_module.MAX_CHANGES = before
    run.check_ended()
    failed = [
        n for n in run.statuses() if run.status(n) == "failed" and not plan.document[n].get("allow_failure")
    ]
    assert run.result == ("failed" if failed else "succeeded")
    clean_up = {n for n, node in plan.document.items() if node["join"] == "all_done" and node["needs"]}
    cancelled = {n for n, status in run.statuses().items() if status == "cancelled"}
    assert not cancelled & clean_up
    assert bool(failed) or not cancelled
