"""A run made from an ended one, by the rules: what is kept, and how the rest may end. From the contract, slow and plain."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from tests.oracle.plans import Dice, Maker, Plan, Taste, metadata_of, refs_of
from tests.oracle.rules import Rules, Seen


@dataclass(slots=True, frozen=True)
class Again:
    """What is asked for, and what follows from it."""

    at: str
    """A node, failed or all."""
    given: bool
    """The node is given its metadata, and does not run."""
    kept: frozenset[str]
    """Nodes that are not to run."""
    items: frozenset[str]
    """Items that are not to run, of maps that do."""
    plan: Plan
    """How the launches of the rest will go."""


def make_again(dice: Dice, plan: Plan, seen: Seen, taste: Taste) -> Again | None:
    """Something that can be asked of the ended run of a plan; None where it cannot be."""
    at = dice.choice(["failed", "failed", "failed", "all", *plan.nodes])
    given = (
        at in plan.nodes and "type" in plan.nodes[at] and "map" not in plan.nodes[at] and dice.random() < 0.3
    )
    kept: set[str] = set()
    for name, node in plan.nodes.items():  # a plan's nodes need earlier ones only
        well = seen.nodes[name] in ("succeeded", "skipped") or (
            seen.nodes[name] == "failed" and node.get("allow_failure", False)
        )
        if given and name == at:
            well = True
        elif at in (name, "all"):
            well = False
        before = {need if isinstance(need, str) else need["node"] for need in node["needs"]}
        if given and at in before:
            well = False
        if well and before <= kept:
            kept.add(name)
    if given and at not in kept:
        return None
    again = copy.deepcopy(plan)
    items: set[str] = set()
    maker = Maker(dice, taste)
    for name, node in plan.nodes.items():
        if name in kept:
            continue
        before = {need if isinstance(need, str) else need["node"] for need in node["needs"]}
        whole = at in (name, "all") or "map" not in node or not before <= kept
        for ref in refs_of(name, node):
            if not whole and seen.nodes.get(ref) == "succeeded":
                items.add(ref)
            else:
                again.fates[ref] = maker.fates()
    return Again(at, given, frozenset(kept), frozenset(items), again)


def check_again(before: Seen, asked: Again, seen: Seen) -> list[str]:
    """Every way in which the end of the new run is not as the contract and the design say."""
    rules, wrong = Rules(asked.plan, seen), list[str]()
    for name, node in asked.plan.nodes.items():
        status = seen.nodes[name]
        if name in asked.kept:
            given = asked.given and name == asked.at
            was = "succeeded" if given else before.nodes[name]
            metadata = metadata_of(name) if given else before.metadata.get(name)
            if (status, seen.metadata.get(name)) != (was, metadata):
                wrong.append(f"{name} is {status}, and was to be kept as {was}")
            continue
        if status not in rules.allowed(name):
            wrong.append(f"{name} is {status}, not {' or '.join(sorted(rules.allowed(name)))}")
        own = (ref for ref in refs_of(name, node) if ref not in asked.items)
        wrong += rules.content(name, ran="map" in node and any(ref in seen.nodes for ref in own))
    if seen.run not in rules.run():
        wrong.append(f"the run is {seen.run}, not {' or '.join(rules.run())}")
    return wrong
