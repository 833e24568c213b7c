"""Runs that end before their time, by the rules: a cancel, `on_failure: fail`; and runs that are paused on the way."""

from __future__ import annotations

from random import Random
from typing import Any

from app.core.signals import Signal, SignalKind
from tests.oracle.memory import Driver
from tests.oracle.plans import Plan, refs_of
from tests.oracle.rules import TERMINAL, Rules, Seen
from tests.unit.core.conftest import World


class Controlled(Driver):
    """Someone cancels, pauses and resumes the run whenever they like, more than once too."""

    def __init__(self, world: World, plan: Plan, random: Random, *, cancels: bool, pauses: bool) -> None:
        super().__init__(world, plan, random)
        self._cancels, self._pauses = cancels, pauses
        self.cancelled = False
        """It was asked for while the run went on."""

    def _possible(self) -> list[Any]:
        found, world = super()._possible(), self.world
        over = world.run["s"].decode() in TERMINAL
        if self._cancels and not over and self.random.random() < 0.03:
            return [self._cancel]
        if self._pauses and not over and self.random.random() < 0.1:
            return [self._resume if "pz" in world.run else self._pause]
        return found or ([self._resume] if "pz" in world.run else [])

    def _cancel(self) -> None:
        self.cancelled = True
        self.world.push(Signal(SignalKind.CANCEL))

    def _pause(self) -> None:
        self.world.run["pz"] = b"%d" % self.world.now

    def _resume(self) -> None:
        run, now = self.world.run, self.world.now
        before = int(run.pop("pz"))
        run |= {"pt": b"%d" % (int(run.get("pt", b"0")) + now - before), "rz": b"%d" % now}
        self.world.push(Signal(SignalKind.RESUME))

    def _admit(self) -> None:
        """A paused run is turned away, and stands in no queue from then on; so is a task that was admitted meanwhile."""
        world, task = self.world, self.random.choice(self.world.ready)
        record = world.nodes[task[0]]
        waits = (record["s"], int(record["a"]), int(record["l"])) == (b"ready", *task[1:])
        if "pz" in world.run or not waits:
            world.ready.remove(task)
        else:
            super()._admit()


def check_early(plan: Plan, seen: Seen, *, cancelled: bool) -> list[str]:
    """Every way in which the run did not end as the design says of one that was cancelled, or stopped by a failure."""
    rules, wrong = Rules(plan, seen), list[str]()
    fails = [
        name
        for name, node in plan.nodes.items()
        if seen.nodes[name] == "failed" and not node.get("allow_failure")
    ]
    stopped = plan.more.get("on_failure") == "fail" and bool(fails)
    for name, node in plan.nodes.items():
        status = seen.nodes[name]
        cleans_up = node["join"] == "all_done" and bool(node["needs"])
        allowed = rules.allowed(name)
        if cancelled or (stopped and not cleans_up):
            allowed = allowed | {"cancelled"}
        if status not in allowed:
            wrong.append(f"{name} is {status}, not {' or '.join(sorted(allowed))}")
        if "map" in node:
            wrong += _items(rules, name, node, seen)
    return wrong + _run(seen, failed=bool(fails), cancelled=cancelled, otherwise=rules.run())


def _items(rules: Rules, name: str, node: dict[str, Any], seen: Seen) -> list[str]:
    """Every item that ended did so by itself, or was cancelled with its map; of a map that ended by itself all did."""
    status, wrong = seen.nodes[name], list[str]()
    for ref, end in rules.items(name).items():
        found = seen.nodes.get(ref)
        mine = (
            {None, end, "cancelled"}
            if status == "cancelled"
            else {end}
            if status in ("succeeded", "failed")
            else {None}
        )
        began = any(each in seen.nodes for each in refs_of(name, node))
        if found not in mine and (began or status == "succeeded"):
            wrong.append(f"{ref} is {found}, and its map is {status}")
    return wrong


def _run(seen: Seen, *, failed: bool, cancelled: bool, otherwise: set[str]) -> list[str]:
    some = "cancelled" in seen.nodes.values()
    right = (
        {"failed"}
        if failed
        else {"cancelled"}
        if some
        else otherwise | ({"cancelled"} if cancelled else set())
    )
    return [] if seen.run in right else [f"the run is {seen.run}, not {' or '.join(sorted(right))}"]
