"""A driver of decide() alone: a run in memory, and a random order of everything that can happen to it.

Decisions of any size, two claimants at once, signals that come twice, late or never, timers that look too early, workers that
die between the commit and the act: what was committed is found again (ready node runs in the queue, due timers), no more.
"""

from __future__ import annotations

from random import Random
from typing import Any

import orjson

from app.core.decide import decide
from app.core.signals import Signal, SignalKind
from tests.oracle.plans import Plan, metadata_of
from tests.oracle.rules import Seen
from tests.unit.core.conftest import World

Task = tuple[str, int, int]
SCRIPTS: dict[str, list[list[str]]] = {
    "finalized": [
        ["launched", "start", "output", "finalize", "gone 0"],
        ["start", "output", "finalize", "silence"],
    ],
    "killed": [["start", "output", "gone -9"], ["launched", "start", "output", "gone 1"]],
    "vanished": [["launched", "start", "output", "silence"]],
    "plain": [["launched", "gone 0"], ["gone 0"]],
    "failed": [["start", "fail", "gone 1"], ["start", "fail", "silence"]],
    "exit 1": [["start", "gone 1"], ["launched", "gone 1"]],
    "incomplete": [["start", "gone 0"]],
    "silent": [["start", "hang", "gone -9"], ["start", "beat", "hang", "gone 0"]],
    "stuck": [["hang", "gone -15"], ["launched", "hang", "gone -9"]],
    "failed for good": [["start", "fail for good", "gone 1"]],
    "exit 42": [["start", "gone 42"], ["gone 42"]],
    "lost": [["start", "gone nowhere"], ["launched", "start", "beat", "gone nowhere"]],
    "lost at once": [["gone nowhere"], ["launched", "gone nowhere"]],
}
"""What a process does, in order. `hang`: nothing, until it is told to stop. `silence`: it is gone, and nobody says so."""


class Driver:
    def __init__(self, world: World, plan: Plan, random: Random) -> None:
        self.world, self.plan, self.random = world, plan, random
        self.processes: dict[Task, list[str]] = {}
        self.launches: dict[str, int] = {}
        self.said: list[Signal] = []
        """Signals that may come again: their sender never saw the answer."""
        self.lost: list[Signal] = []
        """Signals that are late: said, and not yet heard."""

    def run(self) -> None:
        """Until nothing is left that could happen."""
        for _ in range(400_000):
            acts = self._possible()
            if not acts:
                if not self.world.timers:
                    return
                acts = [self._pass_time]
            elif self.random.random() < 0.15:
                acts = [self._repeat, self._look, self._restart]
            self.random.choice(acts)()
            self._check_slots()
        raise AssertionError("the run does not come to an end")

    def _possible(self) -> list[Any]:
        world = self.world
        return (
            [self._decide] * bool(world.inbox)
            + [self._admit] * bool(world.ready)
            + [self._go_on] * bool(self._moving())
            + [self._hear] * bool(self.lost)
        )

    def _check_slots(self) -> None:
        for ref, attempt, launch in self.world.holders:
            record = self.world.nodes[ref]
            now = (record["s"].decode(), int(record["a"]), int(record["l"]))
            assert now in {("starting", attempt, launch), ("running", attempt, launch)}, (ref, now)

    # workers ----------------------------------------------------------------------------------------------------

    def _decide(self) -> None:
        world, random = self.world, self.random
        view, signals = world.load(random.choice([1, 2, 5, 500]), whole=random.random() < 0.5)
        revision = view.run.revision
        changes = decide(view, signals, world.now, random.random())
        fate = random.random()
        if fate < 0.1:
            return  # the worker died before its commit
        if fate < 0.3:  # another claimant, or a node run, is faster
            random.choice([self._steal, *[self._go_on] * bool(self._moving())])()
        committed = world.commit(view, revision, changes)
        if committed and random.random() < 0.05:
            assert not world.commit(view, revision, changes), "a commit was made twice"

    def _steal(self) -> None:
        self.world.step(self.random.choice([1, 2, 500]))

    def _admit(self) -> None:
        task = self.random.choice(self.world.ready)
        self.world.admit(task)
        number = self.launches[task[0]] = self.launches.get(task[0], -1) + 1
        self.processes[task] = list(self.random.choice(SCRIPTS[self.plan.fates[task[0]][number]]))

    # processes --------------------------------------------------------------------------------------------------

    def _moving(self) -> list[Task]:
        """Processes that can go on; one that hangs does when it was told to stop."""
        return [task for task, acts in self.processes.items()
                if acts[0] != "hang" or self.world.nodes[task[0]].get("t")]  # fmt: skip

    def _go_on(self) -> None:
        task = self.random.choice(self._moving())
        ref, attempt, _ = task
        acts, world = self.processes[task], self.world
        act = acts.pop(0)
        if not acts:
            del self.processes[task]
        match act.split(" ", 1):
            case ["launched"]:
                world.launched(ref)
            case ["start"]:
                world.start(ref)
            case ["beat"]:
                world.nodes[ref]["h"] = b"%d" % world.now
            case ["output"]:
                world.output(ref, metadata_of(ref))
            case ["finalize"]:
                world.finalize(ref)
            case ["fail", *final]:
                self._say(Signal(SignalKind.FAIL, ref, attempt=attempt, type="Broken", retryable=not final))
            case ["gone", "nowhere"]:
                self._gone(task, type="lost", infra=True)
            case ["gone", code]:
                output = orjson.dumps(metadata_of(ref)).decode() if code == "0" else None
                self._gone(task, code=int(code), output=output)
            case _:
                pass

    def _gone(self, task: Task, **how: Any) -> None:
        """The script that takes exits drops those of attempts that are over; what it lets pass may come twice, or late."""
        ref, attempt, launch = task
        before = len(self.world.inbox)
        self.world.exit(task, **how)
        if len(self.world.inbox) > before:
            self.world.inbox.pop()
            self._say(Signal(SignalKind.EXIT, ref, attempt=attempt, launch=launch, **how))

    def _say(self, signal: Signal) -> None:
        """What one process says is heard in its order; between processes any order is possible."""
        self.said.append(signal)
        for late in [late for late in self.lost if late.ref == signal.ref]:
            self.lost.remove(late)
            self.world.push(late)
        if self.random.random() < 0.2:
            self.lost.append(signal)
        else:
            self.world.push(signal)

    def _hear(self) -> None:
        self.world.push(self.lost.pop(self.random.randrange(len(self.lost))))

    def _repeat(self) -> None:
        if self.said:
            self.world.push(self.random.choice(self.said))

    def _restart(self) -> None:
        """A process begins again by itself, with a new epoch; its attempt is the same."""
        started = [
            ref
            for ref, record in self.world.nodes.items()
            if record["s"] == b"running" and int(record.get("e", b"0"))
        ]
        if started:
            self.world.start(self.random.choice(started))

    # time -------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """A timer that comes too early, or for a node run that has none."""
        self.world.push(
            Signal(SignalKind.DUE, self.random.choice(list(self.plan.fates) or list(self.plan.nodes)))
        )

    def _pass_time(self) -> None:
        world = self.world
        world.now = max(world.now, min(world.timers.values()))
        for ref in [ref for ref, ms in world.timers.items() if ms <= world.now]:
            world.fire(ref)

    # the end ----------------------------------------------------------------------------------------------------

    def seen(self) -> Seen:
        world = self.world
        nodes = dict.fromkeys(self.plan.nodes, "pending")
        nodes |= {ref: record["s"].decode() for ref, record in world.nodes.items()}
        metadata = {ref: orjson.loads(record["m"]) for ref, record in world.nodes.items() if "m" in record}
        return Seen(str(world.result), nodes, metadata)

    def moves(self) -> list[tuple[str, str, str]]:
        return [_move(event) for event in self.world.events if event["type"] in ("node", "run")]


def _move(event: dict[str, Any]) -> tuple[str, str, str]:
    ref = event.get("node", "")
    return (f"{ref}:{event['item']}" if "item" in event else ref, str(event["from"]), str(event["to"]))
