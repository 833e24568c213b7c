"""A driver of decide() alone for stories: child runs that end whenever they like, people who answer, a hand that cancels.

Every step also checks what must hold at any time: who waits holds no slot; a child run is awaited or was cancelled; nothing
but clean-up begins in a run that ends early.
"""

from __future__ import annotations

from random import Random
from typing import Any

import orjson

from app.core.signals import Signal, SignalKind, child_ended
from app.core.states import RUN_TERMINAL, RunStatus
from app.core.view import ChildStart
from tests.oracle.interrupted import Told
from tests.oracle.kinds import Story
from tests.oracle.memory import Driver
from tests.oracle.plans import FATAL, GOOD, metadata_of
from tests.unit.core.conftest import World


class Telling(Driver):
    def __init__(self, world: World, story: Story, random: Random) -> None:
        super().__init__(world, story, random)
        self.story = story
        self.children: dict[str, ChildStart] = {}
        """Child runs that have not ended."""
        self.heard = 0
        self.cancel_asked = self.timed_out = False
        self.decisions: dict[str, bool] = {}
        self.events_before = 0
        """Events when it became known that the run ends early."""
        self.ending = b""
        """Why it ended early, before the last step."""

    # what is possible -------------------------------------------------------------------------------------------

    def _possible(self) -> list[Any]:
        self._take_up()
        acts = super()._possible() + [self._end_child] * bool(self.children)
        acts += [self._answer] * bool(self._asking())
        if self._over():
            return acts
        dice = self.random.random()
        if self.story.cancelled and not self.cancel_asked and dice < 0.03:
            return [self._cancel]
        if "pz" in self.world.run:
            return [*acts, self._resume] if dice < 0.2 or not acts else acts
        return [self._pause] if self.story.paused and dice < 0.03 else acts

    def _over(self) -> bool:
        return self.world.result in RUN_TERMINAL

    def _take_up(self) -> None:
        """Child runs that commits have queued since."""
        for child in self.world.children[self.heard :]:
            assert child.run not in self.children
            self.children[child.run] = child
        self.heard = len(self.world.children)

    # from outside -----------------------------------------------------------------------------------------------

    def _end_child(self) -> None:
        """It ends as its story says; or as cancelled, where nobody waits for it any more."""
        child = self.children.pop(self.random.choice(list(self.children)))
        fate = self.story.fates[child.ref][child.attempt - 1]
        if child.run in self.world.cancelled and self.random.random() < 0.8:
            self._hears_of(child, RunStatus.CANCELLED)
        elif fate in GOOD:
            self._hears_of(child, RunStatus.SUCCEEDED)
        elif fate in FATAL and self.random.random() < 0.5:
            self._say(
                Signal(
                    SignalKind.CHILD, child.ref, attempt=child.attempt, type="child_missing", retryable=False
                )
            )
        else:
            self._hears_of(child, RunStatus.CANCELLED if fate in FATAL else RunStatus.FAILED)

    def _hears_of(self, child: ChildStart, status: RunStatus) -> None:
        output = orjson.dumps(metadata_of(child.ref)) if status is RunStatus.SUCCEEDED else None
        self._say(child_ended(child.ref, child.attempt, child.run, status, output))

    def _asking(self) -> list[str]:
        """Approvals that someone will decide. The script refuses where the run was asked to end, or has ended."""
        if self.cancel_asked or self._over():
            return []
        return [name for name, answer in self.story.answers.items() if answer != "nobody" and name not in self.decisions
                and self.world.nodes.get(name, {}).get("s") == b"waiting"]  # fmt: skip

    def _answer(self) -> None:
        name = self.random.choice(self._asking())
        self.decisions[name] = self.story.answers[name] == "approve"
        self.world.decide_approval(name, approved=self.decisions[name])

    def _cancel(self) -> None:
        self.cancel_asked = True
        self.world.run["cr"] = b"%d" % self.world.now
        self.world.push(Signal(SignalKind.CANCEL))

    def _pause(self) -> None:
        self.world.run["pz"] = b"%d" % self.world.now

    def _resume(self) -> None:
        run, now = self.world.run, self.world.now
        run["pt"] = b"%d" % (int(run.get("pt", b"0")) + now - int(run.pop("pz")))
        run["rz"] = b"%d" % now
        self.world.push(Signal(SignalKind.RESUME))

    def _admit(self) -> None:
        """Nothing of a paused or ended run is admitted: what was chosen is dropped from the queue."""
        if "pz" in self.world.run or self._over():
            self.world.ready.remove(self.random.choice(self.world.ready))
        else:
            super()._admit()

    def _pass_time(self) -> None:
        if "pz" in self.world.run and self.random.random() < 0.5:
            self.world.now += 5_000
            return
        super()._pass_time()

    # what holds at any time -------------------------------------------------------------------------------------

    def _check_slots(self) -> None:
        super()._check_slots()
        world = self.world
        self._take_up()
        for child in self.children.values():
            node = world.nodes[child.ref]
            awaited = (node["s"], node["ch"], int(node["a"])) == (
                b"waiting",
                child.run.encode(),
                child.attempt,
            )
            assert awaited or child.run in world.cancelled, f"nobody waits for {child}, and it goes on"
        started = [(child.ref, child.attempt) for child in world.children]
        assert len(started) == len(set(started)), "an attempt has two child runs"
        waits = [ref for ref in world.nodes if (node := self.world.graph.node_of(ref)).child or node.approval]
        assert not {ref for ref, _, _ in world.holders} & set(waits), "what waits holds a slot"
        self.timed_out = self.timed_out or world.run.get("e") == b"timeout"
        if world.run.get("e") and not self.events_before:
            self.events_before, self.ending = len(world.events), world.run["e"]
        if self.events_before:
            self._check_begun()

    def _check_begun(self) -> None:
        """After a cancel or the run's timeout nothing begins; after a failure only clean-up."""
        begun = [event for event in self.world.events[self.events_before :] if event.get("to") == "ready"]
        self.events_before = len(self.world.events)
        for event in begun:
            cleans_up = self.world.graph.node(event["node"]).cleans_up and self.ending == b"failure"
            assert cleans_up, f"{event['node']} begins in a run that ends early"
        self.ending = self.world.run["e"]

    # the end ----------------------------------------------------------------------------------------------------

    def told(self, cached: frozenset[str] = frozenset()) -> Told:
        seen, nodes = self.seen(), self.world.nodes
        won = {ref for ref, record in nodes.items() if "w" in record and "ad" not in record}
        return Told(seen.run, seen.nodes, seen.metadata, self.cancel_asked, self.timed_out, frozenset(won),
                    self.decisions, cached)  # fmt: skip
