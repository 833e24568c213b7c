"""A driver of the real store for stories: child runs, people who decide, a hand that cancels, pauses and lets go on.

A child run is a run as any other, played by the same two workers: its trigger is taken from the queue, where a worker may die
with it in hand, and its only node is an approval, by which the story ends it. So what passes between a run and its child is
written by the same scripts as always.
"""

from __future__ import annotations

import contextlib
from random import Random
from typing import Any

from app.core.states import RUN_TERMINAL
from app.errors import Conflict
from app.settings import Settings
from app.store.store import Store
from app.store.streams import Entry
from app.store.triggers import read_trigger
from tests.oracle.interrupted import Told
from tests.oracle.kinds import Story
from tests.oracle.plans import FATAL, GOOD, metadata_of
from tests.oracle.stage import Act, Driver
from workers.consumer import TriggerHandler

CHILD: dict[str, Any] = {"work": {"approval": {"message": "How does it end?"}}}
OUTPUT = {"v": "${{ int(nodes.work.metadata.comment) }}"}


class Storied(Driver):
    def __init__(self, stores: list[Store], story: Story, random: Random, settings: Settings) -> None:
        super().__init__(stores, story, random)
        self.story = story
        self.children: dict[str, tuple[str, int]] = {}
        """Child runs: (node run, attempt) that waited for each."""
        self.going: set[str] = set()
        """Those that may not have ended."""
        self.triggers = [store.stream(store.keys.triggers, f"worker-{n}") for n, store in enumerate(stores)]
        self.handlers = [
            TriggerHandler(store, stream, settings)
            for store, stream in zip(stores, self.triggers, strict=True)
        ]
        self.queued: list[Entry] = []
        """Triggers that a worker holds."""
        self.cancel_asked = self.paused = False
        self.decisions: dict[str, bool] = {}

    # what is possible -------------------------------------------------------------------------------------------

    def _acts(self) -> list[Act]:
        dice = self.random.random()
        if self.story.cancelled and not self.cancel_asked and dice < 0.02:
            return [self._cancel]
        if self.paused and dice < 0.1:
            return [self._resume]
        if self.story.paused and not self.paused and dice < 0.02:
            return [self._pause]
        acts = super()._acts() + [self._take_triggers] * 2
        acts += [self._end_child] * bool(self.going)
        return acts + [self._answer] * bool(self._asked())

    async def _mark(self) -> tuple[Any, ...]:
        call, keys = self.store.batcher.call, self.store.keys
        revisions = [call("HGET", keys.run(child), "k") for child in sorted(self.going)]
        return (*await super()._mark(), len(self.queued), len(self.children), self.paused,
                *[await revision for revision in revisions])  # fmt: skip

    async def _catch_up(self) -> None:
        if self.paused:
            await self._resume()
        for stream in self.triggers:
            held = {entry.id for entry in self.queued}
            self.queued += [entry for entry in await stream.reclaim(0, 10) if entry.id not in held]
        await super()._catch_up()

    # from outside -----------------------------------------------------------------------------------------------

    async def _cancel(self) -> None:
        self.cancel_asked = await self.store.control.cancel(self.run) not in RUN_TERMINAL

    async def _pause(self) -> None:
        await self.store.control.pause(self.run)
        self.paused = True

    async def _resume(self) -> None:
        await self.store.control.resume(self.run)
        self.paused = False

    def _asked(self) -> list[str]:
        return [
            name
            for name, answer in self.story.answers.items()
            if answer != "nobody" and name not in self.decisions
        ]

    async def _answer(self) -> None:
        """Somebody decides, and says it again; one who says the opposite is refused."""
        name = self.random.choice(self._asked())
        approved = self.story.answers[name] == "approve"
        decide = self.store.approvals.decide
        with contextlib.suppress(Conflict):  # not yet, or not any more
            first = await decide(self.run, name, approved=approved, by="anna", comment=None)
            self.decisions[name] = approved
            assert await decide(self.run, name, approved=approved, by="ben", comment=None) == first
            with contextlib.suppress(Conflict):
                await decide(self.run, name, approved=not approved, by="ben", comment=None)
                raise AssertionError(f"{name} was decided twice")

    # child runs -------------------------------------------------------------------------------------------------

    async def _take_triggers(self) -> None:
        """One worker takes a trigger from the queue, and makes its run; or dies before that, and another finds it."""
        number = self.random.randrange(len(self.triggers))
        call, keys = self.store.batcher.call, self.store.keys
        if await call("XLEN", keys.triggers) > (await call("XPENDING", keys.triggers, "workers"))[0]:
            self.queued += await self.triggers[number].read(1, 1)
        if not self.queued or self.random.random() < 0.1:
            return
        entry = self.queued.pop(self.random.randrange(len(self.queued)))
        trigger = read_trigger(entry.id, entry.fields)
        up = trigger.record["up"]
        assert up["r"] == self.run
        known = self.children.setdefault(trigger.run, (up["n"], up["a"]))
        assert known == (up["n"], up["a"])
        assert list(self.children.values()).count(known) == 1, "an attempt has two child runs"
        self.going.add(trigger.run)
        await self.handlers[number](entry)
        if self.random.random() < 0.2:  # it was delivered twice
            await self.handlers[1 - number](entry)

    async def _end_child(self) -> None:
        """It ends as its story says, once it has begun."""
        child = self.random.choice(sorted(self.going))
        ref, attempt = self.children[child]
        fate = self.story.fates[ref][attempt - 1]
        if (await self._status(child)) in RUN_TERMINAL:
            self.going.discard(child)
        elif fate in FATAL:
            await self.store.control.cancel(child)
        else:
            comment = str(metadata_of(ref)["v"])
            with contextlib.suppress(Conflict):
                await self.store.approvals.decide(
                    child, "work", approved=fate in GOOD, by="anna", comment=comment
                )

    async def _status(self, run: str) -> str:
        """Of a child run whose trigger was cancelled there is none."""
        raw = await self.store.batcher.call("HGET", self.store.keys.run(run), "s")
        return "cancelled" if raw is None else raw.decode()

    # the end ----------------------------------------------------------------------------------------------------

    async def leftovers(self) -> list[str]:
        found = await super().leftovers()
        found += ["a trigger"] * await self.store.batcher.call("XLEN", self.store.keys.triggers)
        for child in self.children:
            status = await self._status(child)
            found += [f"child run {child} is {status}"] * (status not in RUN_TERMINAL)
        return found

    async def told(self, cached: frozenset[str] = frozenset()) -> Told:
        seen, won = await self.seen(), set[str]()
        for ref in seen.nodes:
            reply = self.store.batcher.call("HMGET", self.store.keys.node(self.run, ref), "w", "ad")
            accepted, decided = await reply
            won |= {ref} if accepted not in (None, b"0") and decided is None else set()
        return Told(seen.run, seen.nodes, seen.metadata, self.cancel_asked, False, frozenset(won), self.decisions,
                    cached)  # fmt: skip
