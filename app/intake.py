"""Events on their way in, over HTTP or by a listener: matched to workflows, each match accepted as a trigger once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import orjson

from app.core.cloudevents import Event
from app.core.effort import BUDGET, WORK, Work
from app.core.firing import why_dead
from app.core.listening import Listening, Patterns, matches
from app.errors import Conflict, ExpressionError, InvalidInput, NotFound, Place, TooLarge
from app.published import Published, PublishedCache
from app.store.triggers import Trigger, Triggers
from app.store.workflows import Workflows

FRESH_SECONDS = 1.0
"""A publication by another process is seen after so long at most."""
WHOLE_SECONDS = 60.0
"""How often every workflow's place is compared, whatever the clock of the store did."""
OVERLAP_MS = 10_000
AT_ONCE = 16
"""Workflows that one event fires at a time: the trigger of each is built in memory."""
MOST_BYTES = 128 << 20
"""Of triggers that one call may fire: so much is written to the store for it, at most."""
LIGHT = BUDGET // 50
"""Units of work that the triggers of a workflow may take without a pause behind them: 10 ms."""
TRIGGER_BYTES = 1 << 10
"""Of a trigger and its receipt, beside the event."""


@dataclass(slots=True, frozen=True)
class Taken:
    """What became of an event in one workflow: a receipt, or none where `when` said no (state `filtered`)."""

    event: str
    workflow: str
    trigger: str
    state: str
    receipt: str | None = None
    run: str | None = None


class Listeners:
    """Which workflows listen for what, as it was at most FRESH_SECONDS ago."""

    def __init__(self, workflows: Workflows) -> None:
        self._workflows = workflows
        self._patterns = Patterns()
        self._known: dict[str, int] = {}
        self._fresh_until = self._whole_until = 0.0
        self._lock = asyncio.Lock()

    def forget(self) -> None:
        """A workflow was published or archived by this process."""
        self._fresh_until = 0.0

    async def matching(self, type_: str) -> list[str]:
        """The workflows that an event of this type may concern. Raises StoreUnavailable."""
        if time.monotonic() >= self._fresh_until:
            async with self._lock:
                if time.monotonic() >= self._fresh_until:
                    await self._refresh()
        return self._patterns.matching(type_)

    async def _refresh(self) -> None:
        """Read anew what was published since the last time."""
        begun = time.monotonic()
        whole = begun >= self._whole_until
        since = 0 if whole else max(self._known.values(), default=0) - OVERLAP_MS
        changed = [
            (name, ms) for name, ms in await self._workflows.listening(since) if self._known.get(name) != ms
        ]
        patterns = await asyncio.gather(*(self._workflows.event_types(name) for name, _ in changed))
        for (name, ms), types in zip(changed, patterns, strict=True):
            self._patterns.put(name, types)
            self._known[name] = ms
        self._fresh_until = begun + FRESH_SECONDS
        if whole:
            self._whole_until = begun + WHOLE_SECONDS


class Intake:
    """Takes events in. One event fires a workflow at most once within 24 hours, however often it comes."""

    def __init__(self, triggers: Triggers, published: PublishedCache, listeners: Listeners) -> None:
        self._triggers = triggers
        self._published = published
        self._listeners = listeners
        self._judging = asyncio.Lock()

    async def take(self, events: Sequence[Event], prefix: str = "") -> list[Taken]:
        """Durably accepted by every workflow that they concern and whose name begins with `prefix`; what became of them.

        Raises StoreUnavailable, Backpressure: then take them again. Raises TooLarge, before anything is accepted.
        """
        concerned = [
            [name for name in await self._listeners.matching(event["type"]) if name.startswith(prefix)]
            for event in events
        ]
        _bound(events, [len(names) for names in concerned])
        found: list[Taken] = []
        for event, names in zip(events, concerned, strict=True):
            for at in range(0, len(names), AT_ONCE):
                fired = await asyncio.gather(*(self._fire(name, event) for name in names[at : at + AT_ONCE]))
                found += [taken for taken in fired if taken]
        return found

    async def _fire(self, workflow: str, event: Event) -> Taken | None:
        """None where the workflow does not listen for it any more."""
        try:
            published = await self._published.current(workflow)
        except (NotFound, Conflict):
            return None
        fitting = [each for each in published.event_triggers if matches(each.type, event["type"])]
        work = Work()
        async with self._judging:
            wanted = _wanted(published, fitting, event, work)
            if work.left < BUDGET - LIGHT:
                await asyncio.sleep(0)  # other requests have their turn before the next workflow's
        if wanted is None and fitting:
            self._triggers.unwanted(f"event:{fitting[0].name}")
        if wanted is None:
            return Taken(event["id"], workflow, fitting[0].name, "filtered") if fitting else None
        name, params, dead = wanted
        accepted = await self._triggers.accept(
            Trigger(
                workflow, published.version, f"event:{name}", params, event=event,
                scope=f"event:{workflow}", key=_key(event), digest="-", dead=dead,
            )
        )  # fmt: skip
        state = "duplicate" if accepted.repeated else accepted.state
        return Taken(event["id"], workflow, name, state, accepted.receipt, accepted.run)


def _wanted(
    published: Published, fitting: Sequence[Listening], event: Event, work: Work
) -> tuple[str, dict[str, object], str | None] | None:
    """(the first trigger that wants the event, the run's params, why it is dead); None where none does."""
    for listening in fitting:
        try:
            if listening.wants(event, work):
                return listening.name, *_params(published, listening, event, work)
        except ExpressionError as error:
            return listening.name, {}, error.message
    return None


def _bound(events: Sequence[Event], fired: Sequence[int]) -> None:
    """Raises TooLarge where the triggers of so many workflows by each event would be too much for one call."""
    if sum(fired) <= AT_ONCE:
        return
    sizes = [
        (len(orjson.dumps(event)) + TRIGGER_BYTES) * count for event, count in zip(events, fired, strict=True)
    ]
    if sum(sizes) > MOST_BYTES:
        at = max(range(len(sizes)), key=sizes.__getitem__)
        raise TooLarge(
            f"Event '{events[at]['id'][:100]}' and {len(events) - 1} others would fire {sum(fired)} triggers of"
            f" {sum(sizes)} bytes together; at most {MOST_BYTES} are taken at once.",
            [Place(f"/{at}" if len(events) > 1 else "",
                   f"concerns {fired[at]} workflows: let it name where its data is, or narrow the types that they listen for")],
        )  # fmt: skip


def _params(
    published: Published, listening: Listening, event: Event, work: Work
) -> tuple[dict[str, object], str | None]:
    """The run's params, or none and why the trigger is dead; without a template the event's data is them."""
    try:
        template = published.event_params[listening.name]
        given = event.get("data") if template is None else template.render({"event": event, WORK: work})
        return published.params({} if given is None else given), None
    except (ExpressionError, InvalidInput) as error:
        return {}, why_dead(error)


def _key(event: Event) -> str:
    """What makes an event the same as another one: its source and its id."""
    return sha256(orjson.dumps([event["source"], event["id"]])).hexdigest()
