"""The rules by which a run ends, from the design's text and nothing else: slow, plain, without any order of events.

`check` looks at a run that has ended, one node after the other, and says of each whether its end may follow from the ends
of the nodes before it and from what its launches did. Where the design leaves the moment open (a node that starts at the
first success may read another one that still runs; a cancel comes before or after an output) more than one end is right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.oracle.plans import FATAL, FAULTS, GOOD, MAX_FAULTS, PARAMS, Plan, metadata_of, refs_of

TERMINAL = frozenset({"succeeded", "failed", "skipped", "blocked", "cancelled"})
RUN_TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
MOVES = {
    "pending": {"ready", "skipped", "blocked", "cancelled"},
    "ready": {"starting", "running", "waiting", "succeeded", "failed", "cancelled"},
    "starting": {"running", "waiting", "failed", "cancelled"},
    "running": {"succeeded", "failed", "waiting", "cancelled"},
    "waiting": {"ready", "succeeded", "failed", "cancelled"},
}
"""Which transitions a node run may make; from a terminal state none."""
RUN_MOVES = {"queued": {"running", "failed", "cancelled"}, "running": {"succeeded", "failed", "cancelled"}}


@dataclass(slots=True)
class Seen:
    """What can be seen of a run after its end."""

    run: str
    nodes: dict[str, str]
    """Status by ref, items included; an item that never came to be is missing."""
    metadata: dict[str, Any]


TRUE, FALSE, BROKEN = "true", "false", "broken"
"""What a condition may turn out to be; broken fails the node."""


class Rules:
    """The allowed ends of the nodes of one plan, given how the run was seen to end."""

    def __init__(self, plan: Plan, seen: Seen) -> None:
        self._plan = plan
        self._seen = seen
        self._before: dict[str, frozenset[str]] = {}
        """By node: which nodes have surely ended when it is looked at."""
        for name in plan.nodes:
            self._before[name] = self._surely_before(name)

    def content(self, name: str, *, ran: bool) -> list[str]:
        """What is wrong with the items and the metadata of a node; its items are looked at where it `ran` as a map."""
        node, seen, wrong = self._plan.nodes[name], self._seen, list[str]()
        if ran:
            found = {ref: seen.nodes.get(ref) for ref in refs_of(name, node)}
            if found != self.items(name):
                wrong.append(f"the items of {name} are {found}, not {self.items(name)}")
        metadata = seen.metadata.get(name)
        if seen.nodes[name] == "succeeded" and "wait" not in node and metadata != self.metadata(name):
            wrong.append(f"the metadata of {name} is {metadata}, not {self.metadata(name)}")
        return wrong

    # conditions -----------------------------------------------------------------------------------------------

    def _condition(self, source: str, ended: Iterable[str]) -> frozenset[str]:
        """What it may give when it is evaluated while only `ended` have surely ended."""
        left, _, right = source.partition(" == ")
        root, name, *path = left.split(".")
        if root == "params":
            value = PARAMS.get(name)
            return frozenset({BROKEN if not isinstance(value, bool) else TRUE if value else FALSE})
        if path == ["status"]:
            now = {TRUE if self._seen.nodes.get(name) == right.strip("'") else FALSE}
            return frozenset(now if name in ended else now | {FALSE})
        value = self._value(name)
        now = {BROKEN if value is None else TRUE if str(value) == right else FALSE}
        return frozenset(now if name in ended else now | {BROKEN})

    def _value(self, name: str) -> Any:
        """`nodes.NAME.metadata.v`, None where it does not exist."""
        metadata = self._seen.metadata.get(name)
        return metadata.get("v") if isinstance(metadata, dict) else None

    def _surely_before(self, name: str) -> frozenset[str]:
        """The nodes that have ended whenever this one becomes ready, or is skipped or blocked by its join."""
        edges = self._edges(name)
        early = self._plan.nodes[name]["join"] == "any_succeeded" and len(edges) > 1
        if early:
            return frozenset()
        found: set[str] = set()
        for upstream, _ in edges:
            found |= {upstream} | self._ended_with(upstream)
        return frozenset(found)

    def _ended_with(self, name: str) -> frozenset[str]:
        """The nodes that have ended whenever this one has. One that a broken edge fails ends before the others it needs."""
        edges = self._edges(name)
        fragile = len(edges) > 1 and any(
            when is not None and BROKEN in self._condition(when, ()) for _, when in edges
        )
        return frozenset() if fragile else self._before[name]

    def _edges(self, name: str) -> list[tuple[str, str | None]]:
        needs = self._plan.nodes[name]["needs"]
        return [(need, None) if isinstance(need, str) else (need["node"], need["when"]) for need in needs]

    # joins ----------------------------------------------------------------------------------------------------

    def _end(self, upstream: str) -> str:
        """What an upstream node counts as: good, bad or skipped."""
        status = self._seen.nodes[upstream]
        forgiven = status == "failed" and self._plan.nodes[upstream].get("allow_failure", False)
        if status == "succeeded" or forgiven:
            return "good"
        return "skipped" if status == "skipped" else "bad"

    def _join(self, name: str) -> set[str]:
        """What the join may say: run, skipped, blocked, or failed by an edge that cannot be evaluated."""
        choices: list[set[str]] = []
        for upstream, when in self._edges(name):
            end = self._end(upstream)
            if when is None:
                choices.append({end})
                continue
            found = self._condition(when, {upstream} | self._ended_with(upstream))
            choices.append({{TRUE: end, FALSE: "skipped", BROKEN: BROKEN}[value] for value in found})
        if not choices:
            return {"run"}
        join = self._plan.nodes[name]["join"]
        return {verdict for ends in _products(choices) for verdict in _verdicts(join, ends)}

    # nodes ----------------------------------------------------------------------------------------------------

    def allowed(self, name: str) -> set[str]:
        """How the node may have ended, given how the nodes before it did."""
        node, ends = self._plan.nodes[name], set[str]()
        for verdict in self._join(name):
            if verdict != "run":
                ends.add(verdict)
                continue
            conditions = self._condition(node["when"], self._before[name]) if "when" in node else {TRUE}
            for condition in conditions:
                ends |= {FALSE: {"skipped"}, BROKEN: {"failed"}, TRUE: self._work(name, node)}[condition]
        return ends

    def _work(self, name: str, node: dict[str, Any]) -> set[str]:
        """How a node may end that runs."""
        if "wait" in node:
            return {"succeeded"}
        if "map" in node:
            return {self._map(name, node)}
        reads = str(node.get("config", {}).get("x", "params.number")).strip("${} ")
        root, upstream, *_ = reads.split(".")
        fine = reads == "params.number" if root == "params" else self._value(upstream) is not None
        ends = {launches_end(self._plan.fates[name], node)} if fine else {"failed"}
        if root == "nodes" and upstream not in self._before[name]:
            ends.add("failed")
        return ends

    def items(self, name: str) -> dict[str, str]:
        """How the items of a map end, all of which run."""
        node = self._plan.nodes[name]
        broken = "item." in str(node.get("config", ""))
        return {
            ref: "failed" if broken and "k" not in item else launches_end(self._plan.fates[ref], node)
            for ref, item in zip(refs_of(name, node), node["map"]["over"], strict=True)
        }

    def _map(self, name: str, node: dict[str, Any]) -> str:
        ends = list(self.items(name).values())
        bad = sum(end != "succeeded" for end in ends)
        return "failed" if bad > node["map"]["tolerate"] * len(ends) else "succeeded"

    def metadata(self, name: str) -> Any:
        """What a node that succeeded, or a map that ended, has handed on."""
        node = self._plan.nodes[name]
        if "wait" in node:
            return None
        if "map" not in node:
            return metadata_of(name)
        items = [metadata_of(ref) if end == "succeeded" else None for ref, end in self.items(name).items()]
        bad = items.count(None)
        return {"count": len(items), "succeeded": len(items) - bad, "failed": bad, "items": items}

    # the run --------------------------------------------------------------------------------------------------

    def run(self) -> set[str]:
        failed = any(
            self._seen.nodes[name] == "failed" and not node.get("allow_failure")
            for name, node in self._plan.nodes.items()
        )
        if failed:
            return {"failed"}
        output = self._plan.more.get("output")
        if output is not None and self._value(output["x"].split(".")[1]) is None:
            return {"failed"}
        return {"succeeded"}


def launches_end(fates: list[str], node: dict[str, Any]) -> str:
    """How a node run ends whose launches go like this: attempts by policy, infrastructure faults by a budget of their own."""
    most = node["retry"]["max_attempts"]
    attempts = faults = 0
    for fate in fates:
        if fate in GOOD:
            return "succeeded"
        if fate in FAULTS:
            faults += 1
        else:
            attempts += 1
        if fate in FATAL or attempts == most or faults > MAX_FAULTS:
            return "failed"
    raise AssertionError("a plan says how the last launch ends")


def _products(choices: list[set[str]]) -> Iterable[tuple[str, ...]]:
    """Every combination; what matters of one is only which ends occur in it."""
    found: set[frozenset[str]] = {frozenset()}
    for choice in choices:
        found = {kinds | {end} for kinds in found for end in choice}
    return [tuple(kinds) for kinds in found]


def _verdicts(join: str, ends: tuple[str, ...]) -> set[str]:
    good, bad, skipped = "good" in ends, "bad" in ends, "skipped" in ends
    if BROKEN in ends:
        # the edge fails the node when its upstream node has ended; any_succeeded may have been decided by then
        return {"failed", "run"} if join == "any_succeeded" and good else {"failed"}
    match join:
        case "all_done":
            return {"run"}
        case "any_succeeded":
            return {"run" if good else "blocked" if bad else "skipped"}
        case "none_failed":
            return {"blocked" if bad else "run"}
        case _:
            return {"blocked" if bad else "skipped" if skipped else "run"}


def check(plan: Plan, seen: Seen) -> list[str]:
    """Every way in which the end of the run is not as the design says; empty when all is right."""
    rules, wrong = Rules(plan, seen), list[str]()
    for name, node in plan.nodes.items():
        status, allowed = seen.nodes[name], rules.allowed(name)
        if status not in allowed:
            wrong.append(f"{name} is {status}, not {' or '.join(sorted(allowed))}")
        ran = "map" in node and any(ref in seen.nodes for ref in refs_of(name, node))
        wrong += rules.content(name, ran=ran)
    if seen.run not in rules.run():
        wrong.append(f"the run is {seen.run}, not {' or '.join(rules.run())}")
    return wrong


def check_moves(moves: Iterable[tuple[str, str, str]]) -> list[str]:
    """Every transition (ref, before, after) in the order told: each allowed, none after the end, none left out."""
    now, wrong = dict[str, str](), list[str]()
    for ref, before, after in moves:
        table, first = (RUN_MOVES, "queued") if ref == "" else (MOVES, "pending")
        known = now.get(ref, first)
        if before != known or after not in table.get(before, ()):
            wrong.append(f"{ref or 'the run'} goes from {before} to {after}, and was {known}")
        now[ref] = after
    return wrong
