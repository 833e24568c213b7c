"""What an example is made of: a workflow document, and how each launch of each of its node runs will go.

A plan is made from dice: those of a seed (`random.Random`), or those that Hypothesis throws, so that a failure shrinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st

JOINS = ("all_succeeded", "all_done", "any_succeeded", "none_failed")
PARAMS: dict[str, Any] = {"yes": True, "no": False, "number": 7}

GOOD = ("finalized", "killed", "vanished", "plain")
"""How a launch ends well: with its final checkpoint; killed, or gone without a word, after its output was accepted; exit 0
of a program that never called start."""
RETRIED = ("failed", "exit 1", "incomplete", "silent", "stuck")
"""How an attempt ends so that another may follow: its own word; exit 1; exit 0 too early; no sign of life; never came up."""
FATAL = ("failed for good", "exit 42")
FAULTS = ("lost", "lost at once")
"""Infrastructure faults: its machine died while it ran, or before it could call start."""

MAX_FAULTS = 10
"""Infrastructure faults that a node run survives."""


def metadata_of(ref: str) -> dict[str, Any]:
    """What the node run hands on when it succeeds."""
    return {"v": sum(ref.encode()) % 3}


T = TypeVar("T")


class Dice(Protocol):
    def random(self) -> float: ...
    def randint(self, a: int, b: int) -> int: ...
    def choice(self, seq: Sequence[T], /) -> T: ...


class Drawn:
    """Dice of Hypothesis; what shrinks is nearer to the first choice, and to `random()` being 1."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def random(self) -> float:
        return 1 - self.randint(0, 99) / 100

    def randint(self, a: int, b: int) -> int:
        return self._data.draw(st.integers(a, b))

    def choice(self, seq: Sequence[T], /) -> T:
        return seq[self.randint(0, len(seq) - 1)]


@dataclass(slots=True)
class Plan:
    """`nodes` as in a document; `fates` by ref ("node", or "node:index" for an item), one for each launch to come."""

    nodes: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    fates: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    more: dict[str, Any] = field(default_factory=dict[str, Any])
    """Other fields of the document."""

    @property
    def document(self) -> dict[str, Any]:
        return {"name": "w", "nodes": self.nodes, **self.more}


@dataclass(slots=True, frozen=True)
class Taste:
    """What plans are made of."""

    most_nodes: int = 30
    quick: bool = False
    """Times of some ms, for a real clock; else of seconds, for a clock that is turned."""
    kinds: Sequence[str] = ("task", "task", "task", "map", "wait")
    faults: bool = True


class Maker:
    def __init__(self, random: Dice, taste: Taste) -> None:
        self._random = random
        self._taste = taste
        self._plan = Plan()

    def plan(self) -> Plan:
        random, plan = self._random, self._plan
        names = [f"n{number}" for number in range(random.randint(1, self._taste.most_nodes))]
        deep = random.random() < 0.5
        for position, name in enumerate(names):
            before = names[max(position - 6, 0) : position] if deep else names[:position]
            upstream = {
                random.choice(before) for _ in range(random.choice([0, 1, 1, 2, 2, 3, 6]) if before else 0)
            }
            plan.nodes[name] = self._node(sorted(upstream))
            for ref in refs_of(name, plan.nodes[name]):
                plan.fates[ref] = self.fates()
        if random.random() < 0.3:
            plan.more["output"] = {"x": f"${{{{ nodes.{random.choice(names)}.metadata.v }}}}"}
        return plan

    def fates(self) -> list[str]:
        random, bad = self._random, list[str]()
        while random.random() < 0.25 and len(bad) < 4:
            kinds = [RETRIED, RETRIED, FATAL] + [FAULTS] * self._taste.faults
            bad.append(random.choice(random.choice(kinds)))
        if self._taste.faults and random.random() < 0.02:
            bad = ["lost at once"] * (MAX_FAULTS + random.randint(0, 1))
        return [*bad, random.choice(GOOD)]

    def _node(self, upstream: list[str]) -> dict[str, Any]:
        random = self._random
        node: dict[str, Any] = {
            "join": random.choice(JOINS),
            "needs": [self._edge(name) for name in upstream],
        }
        if random.random() < 0.2:
            node["when"] = self._condition(upstream)
        match random.choice(list(self._taste.kinds)):
            case "wait":
                long = "20ms" if self._taste.quick else "90s"
                return node | {"wait": {"duration": random.choice([0, "0s", long])}}
            case "map":
                over = [random.choice([{"k": 1}, {"k": 2}, {}]) for _ in range(random.choice([0, 1, 3, 8]))]
                node["map"] = {"over": over, "tolerate": random.choice([0.0, 0.3, 0.5, 1.0])}
                if random.random() < 0.5:
                    node["map"]["max_parallel"] = random.randint(1, 3)
                if random.random() < 0.3:
                    node["config"] = {"k": "${{ item.k }}"}
            case _:
                if random.random() < 0.2:
                    read = [f"nodes.{name}.metadata.v" for name in upstream]
                    node["config"] = {
                        "x": f"${{{{ {random.choice([*read, 'params.number', 'params.nothing'])} }}}}"
                    }
        return node | self._policy()

    def _policy(self) -> dict[str, Any]:
        random, quick = self._random, self._taste.quick
        policy: dict[str, Any] = {"type": "step", "retry": {"max_attempts": random.randint(1, 3),
                                  "initial": "1ms" if quick else "1s", "max": "4ms" if quick else "100s"}}  # fmt: skip
        if random.random() < 0.2:
            policy["allow_failure"] = True
        return policy

    def _edge(self, upstream: str) -> Any:
        if self._random.random() < 0.75:
            return upstream
        return {"node": upstream, "when": self._condition([upstream])}

    def _condition(self, readable: Sequence[str]) -> str:
        """CEL of the few forms that the rules can read."""
        random = self._random
        forms = ["params.yes", "params.yes", "params.no"] + ["params.number", "params.nothing"] * (
            random.random() < 0.2
        )
        for name in readable:
            forms += [f"nodes.{name}.status == '{s}'" for s in ("succeeded", "failed", "skipped")]
            forms += [f"nodes.{name}.metadata.v == 1"] * (random.random() < 0.3)
        return random.choice(forms)


def refs_of(name: str, node: dict[str, Any]) -> list[str]:
    """The node run of a node, or those of its items: whatever is launched."""
    if "map" in node:
        return [f"{name}:{index}" for index in range(len(node["map"]["over"]))]
    return [name] if "wait" not in node else []


def make_plan(random: Dice, taste: Taste | None = None) -> Plan:
    return Maker(random, taste or Taste()).plan()
