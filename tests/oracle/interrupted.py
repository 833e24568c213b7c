"""The rules for stories: what a child run, a person, a cache and the early end of a run mean for how node runs end.

From the design's text: "any live state -> cancelled"; "on_failure fail: at the first failure running and pending nodes are
cancelled, then all_done nodes below them still run, not after a cancel or run timeout"; an accepted output is won; "cancel
goes down, failure comes up, the child's output is the node's metadata".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.oracle.kinds import Story
from tests.oracle.plans import refs_of
from tests.oracle.rules import Rules, Seen


@dataclass(slots=True)
class Told(Seen):
    """What can be seen, and what was done to the run before its end."""

    cancel_asked: bool = False
    timed_out: bool = False
    """The time of the whole run was over before its end."""
    won: frozenset[str] = frozenset()
    """Node runs whose output was accepted."""
    decisions: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """By approval: whether the decision that was accepted is to approve."""
    cached: frozenset[str] = frozenset()
    """Nodes whose metadata the cache had before the run."""


class StoryRules(Rules):
    def __init__(self, story: Story, told: Told) -> None:
        known = {name: ["finalized"] for name in told.cached}  # as if its first launch ended well
        super().__init__(replace(story, fates={**story.fates, **known}), told)
        self._story, self._told = story, told
        self._ended_early = told.cancel_asked or told.timed_out

    def _stopped(self) -> bool:
        """Whether node runs may have been cancelled after a failure."""
        return self._story.stops_at_failure and any(map(self._fails, self._story.nodes))

    def _fails(self, name: str) -> bool:
        return self._told.nodes[name] == "failed" and not self._story.nodes[name].get("allow_failure")

    def allowed(self, name: str) -> set[str]:
        node, ends = self._story.nodes[name], super().allowed(name)
        if not self._ended_early and not self._stopped():
            return ends
        if self._stopped() and node["join"] == "all_done" and node["needs"]:
            # clean-up: it runs once what is before it has ended, unless the run was cancelled or over by then
            return ends | ({"cancelled"} if self._ended_early else set())
        upstream = {self._told.nodes[name] for name, _ in self._edges(name)}
        if "cancelled" in upstream and node["join"] != "any_succeeded":
            return (ends & {"failed"}) | {"cancelled"}  # failed: by an edge that cannot be evaluated
        return ends | {"cancelled"}

    def _work(self, name: str, node: dict[str, Any]) -> set[str]:
        if "approval" in node:
            answer = self._told.decisions.get(name)
            return {"failed"} if not answer else {"succeeded"}
        return super()._work(name, node)

    def metadata(self, name: str) -> Any:
        node = self._story.nodes[name]
        if "approval" in node:
            return self._told.metadata.get(name)
        return super().metadata(name)

    def run(self) -> set[str]:
        told = self._told
        if any(map(self._fails, self._story.nodes)):
            return {"failed"}
        ends = set[str]()
        if told.cancel_asked:
            ends.add("cancelled")
        if told.timed_out:
            ends.add("failed")
        return ends if "cancelled" in told.nodes.values() else ends | super().run()


def check_story(story: Story, told: Told) -> list[str]:
    """Every way in which the end of the run is not as the design says; empty when all is right."""
    if told.run == "cancelled" and told.cancel_asked and set(told.nodes.values()) == {"pending"}:
        return []  # it was over before it began
    rules, wrong = StoryRules(story, told), list[str]()
    for name, node in story.nodes.items():
        status, allowed = told.nodes[name], rules.allowed(name)
        if status not in allowed:
            wrong.append(f"{name} is {status}, not {' or '.join(sorted(allowed))}")
        if "map" in node and status != "failed":
            wrong += _check_items(rules, told, name, node)
        if status == "succeeded" and "wait" not in node and told.metadata.get(name) != rules.metadata(name):
            wrong.append(f"the metadata of {name} is {told.metadata.get(name)}, not {rules.metadata(name)}")
    wrong += [f"{ref} won and is {told.nodes[ref]}" for ref in told.won if told.nodes[ref] != "succeeded"]
    for name, approved in told.decisions.items():
        if told.nodes[name] != ("succeeded" if approved else "failed"):
            wrong.append(f"{name} was decided ({approved}) and is {told.nodes[name]}")
    if told.run not in rules.run():
        wrong.append(f"the run is {told.run}, not {' or '.join(rules.run())}")
    return wrong


def _check_items(rules: StoryRules, told: Told, name: str, node: dict[str, Any]) -> list[str]:
    """Items of a map that was not cut short end as their launches say; of one that was, some are cancelled or never began."""
    wrong, right = list[str](), rules.items(name)
    short = told.nodes[name] == "cancelled"
    for ref in refs_of(name, node):
        status = told.nodes.get(ref)
        began = told.nodes[name] in ("succeeded", "cancelled")
        if (
            not began
            or (status is None and short)
            or status == right[ref]
            or (status == "cancelled" and short)
        ):
            continue
        wrong.append(f"{ref} is {status}, not {right[ref]}")
    return wrong
