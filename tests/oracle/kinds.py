"""Plans with child runs, approvals and caches, and runs that are cancelled, paused, late, or stop at the first failure.

What happens to a run from outside is part of its plan: how each child run ends, what each person says, whether it is cancelled
or paused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.oracle.plans import FATAL, GOOD, RETRIED, Dice, Maker, Plan, Taste, refs_of

ANSWERS = ("approve", "approve", "reject", "nobody")
CACHE = {"cache": {"key": "${{ params.number }}", "ttl": "1h"}}


@dataclass(slots=True)
class Story(Plan):
    """A plan, and what comes from outside. The fates of a child run are those of its attempts, in the words of launches."""

    answers: dict[str, str] = field(default_factory=dict[str, str])
    """By approval: one of ANSWERS."""
    cancelled: bool = False
    paused: bool = False

    @property
    def stops_at_failure(self) -> bool:
        return self.more.get("on_failure") == "fail"


class Teller(Maker):
    """Makes stories."""

    def __init__(self, random: Dice, taste: Taste) -> None:
        super().__init__(random, taste)
        self._story = self._plan = Story()

    def story(self) -> Story:
        random, story = self._random, self._story
        self.plan()
        for name, node in story.nodes.items():
            if "workflow" in node:
                story.fates |= {ref: self._child_fates() for ref in refs_of(name, node)}
            if "approval" in node:
                story.answers[name] = random.choice(ANSWERS)
                if story.answers[name] == "nobody":
                    node["approval"]["timeout"] = "10s"
        story.cancelled, story.paused = random.random() < 0.3, random.random() < 0.3
        if random.random() < 0.3:
            story.more["on_failure"] = "fail"
        if random.random() < 0.2:
            story.more["timeout"] = random.choice(["1s", "20s", "200s"])
        return story

    def _child_fates(self) -> list[str]:
        random, bad = self._random, list[str]()
        while random.random() < 0.3 and len(bad) < 4:
            bad.append(random.choice(random.choice([RETRIED, RETRIED, FATAL])))
        return [*bad, GOOD[0]]

    def _node(self, upstream: list[str]) -> dict[str, Any]:
        random, node = self._random, super()._node(upstream)
        if "type" not in node:
            return node
        kind = random.choice(["as it is", "child", "approval", "cached"])
        if kind == "child":
            node = {name: value for name, value in node.items() if name != "type"} | {"workflow": "child"}
        elif kind == "approval" and "map" not in node:
            node = {name: node[name] for name in ("join", "needs", "when", "allow_failure") if name in node}
            node["approval"] = {"message": "Go on?"}
        elif kind == "cached" and "map" not in node:
            node |= CACHE
        return node


def tell_story(random: Dice, taste: Taste | None = None) -> Story:
    return Teller(random, taste or Taste()).story()
