"""The engine's doors to the store: load what a decision needs, commit what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.core.decide import wanted
from app.core.graph import Graph
from app.core.pools import Waiting, pools_of
from app.core.signals import Signal, SignalKind, decode, encode
from app.core.tally import Tally
from app.core.tasks import Task, timer_member
from app.core.view import NODE_FIELDS, RUN_FIELDS, Changes, JoinCount, NodeView, RunView, View
from app.errors import CommitConflict, EngineFault, NewerSignal
from app.store.admission import Admission, Asking
from app.store.cached import look_up
from app.store.client import Arg, Batcher, Script, heard, pairs
from app.store.extras import extras
from app.store.keys import GROUP, Keys
from app.store.mapitems import Feed

LOAD = Script("load", RUN_FIELDS=RUN_FIELDS, NODE_FIELDS=NODE_FIELDS)
LOAD_NODES = Script("load_nodes", NODE_FIELDS=NODE_FIELDS)
COMMIT = Script("commit")
SIGNAL = Script("signal")
DUE = Script("due")

MAX_SIGNALS = 500
"""Signals that one commit consumes at most."""
MAX_READ = 2_000
"""Node runs that one script reads at most, so that none holds the server for long."""
SMALL_RUN = 256
"""Nodes up to which all joins of a run are loaded at once, so that a cascade needs no further round."""
ENDS = frozenset({SignalKind.DONE, SignalKind.FAIL, SignalKind.EXIT, SignalKind.DEFER, SignalKind.DUE})
"""Signals about one node run, which all need the same to be read."""


@dataclass(slots=True)
class Loaded:
    """A run and the head of its inbox, as one decision takes them."""

    view: View
    signals: list[Signal]
    raw: list[bytes]
    now: int
    fault: str | None = None
    """Why the inbox cannot be decided; such a run is failed."""
    newer: str | None = None
    """What a newer release must decide; such a run is left to its workers."""


@dataclass(slots=True, frozen=True)
class Guess:
    """What a run's next signals will most likely be: the ends of the few node runs that its worker has submitted."""

    graph: Graph
    signals: tuple[Signal, ...]

    def covers(self, signals: Sequence[Signal]) -> bool:
        """Whether what was read for the guess is all that these signals need."""
        refs = {signal.ref for signal in self.signals}
        return all(signal.kind in ENDS and signal.ref in refs for signal in signals)


@dataclass(slots=True)
class Reading:
    """Node runs and joins to be read."""

    refs: list[str]
    joins: list[str]
    whole: bool
    """All joins of the run are asked for."""
    feeds: dict[str, tuple[str, int]]
    cached: Sequence[str] = ()
    """Names of entries of the cache."""

    @property
    def pages(self) -> Iterable[tuple[Sequence[str], Sequence[str]]]:
        """(refs, arguments of load_nodes.lua) of each script; the first asks for the joins too."""
        for at in range(0, max(len(self.refs), 1), MAX_READ):
            yield self.refs[at : at + MAX_READ], [] if at else ["*"] if self.whole else self.joins

    def into(self, view: View, joins: Sequence[Any], nodes: Iterable[list[bytes | None]]) -> None:
        """Add what was read."""
        named = (
            pairs(joins) if self.whole else zip((name.encode() for name in self.joins), joins, strict=True)
        )
        view.joins = {name.decode(): JoinCount.parse(value) for name, value in named}
        view.joins_whole = self.whole
        view.nodes = {ref: NodeView.parse(values) for ref, values in zip(self.refs, nodes, strict=True)}


class Engine:
    def __init__(
        self,
        batcher: Batcher,
        keys: Keys,
        graph: Callable[[str, int], Awaitable[Graph]],
        admission: Admission,
        *,
        pack_ms: int = 0,
        tally: Tally | None = None,
    ) -> None:
        self._batcher = batcher
        self._keys = keys
        self._graph = graph
        self._admission = admission
        self._tally = tally or Tally()
        self._pack_ms = pack_ms
        """How long after its end a run is looked at for packing and removal."""

    async def load(self, run: str, guess: Guess | None = None) -> Loaded | None:
        """The run with at most MAX_SIGNALS signals; None where there is no such run.

        With a good guess at what its signals will be about, everything comes in one round trip.
        """
        keys = self._keys
        names = [keys.run(run), keys.inbox(run), keys.resumed]
        args: list[Arg] = [MAX_SIGNALS]
        early = _reading(guess.graph, guess.signals) if guess is not None else None
        if early is not None and len(early.refs) > MAX_READ:
            early = None  # more than one script may read
        if early is not None:
            ((refs, more),) = early.pages
            names += (keys.joins(run), *(keys.node(run, ref) for ref in refs))
            args += more
        fields, raw, now, resumed, *found = await self._batcher.script(LOAD, names, args, run)
        record = RunView.parse(run, fields)
        if record is None:
            return None
        graph = await self._graph(record.workflow, record.version)
        loaded = Loaded(View(graph, record, {}, {}, resumed=int(resumed or 0)), [], raw, now)
        try:
            loaded.signals = [decode(entry) for entry in raw]
            if early is not None and guess is not None and guess.covers(loaded.signals):
                joins, *nodes = found[0]
                early.into(loaded.view, joins, nodes)
            else:
                await self._read(loaded.view, _reading(graph, loaded.signals))
        except NewerSignal as newer:
            loaded.newer = newer.message
        except EngineFault as fault:
            loaded.fault = fault.message
        return loaded

    async def _read(self, view: View, reading: Reading | None) -> None:
        if reading is None:
            return
        keys, run = self._keys, view.run.id
        replies: list[asyncio.Future[Any]] = []
        for refs, args in reading.pages:
            names = [keys.joins(run), *(keys.node(run, ref) for ref in refs)]
            replies.append(self._batcher.script(LOAD_NODES, names, args, run))
            replies[-1].add_done_callback(heard)
        feeds = {name: Feed(self._batcher, keys, run, name, *feed) for name, feed in reading.feeds.items()}
        joins, *nodes = await replies[0]
        for reply in replies[1:]:
            nodes += (await reply)[1:]
        view.feeds = {name: await feed.read() for name, feed in feeds.items()}
        if reading.cached:
            found = [look_up(self._batcher, keys, run, name) for name in reading.cached]
            view.cached = dict(zip(reading.cached, await asyncio.gather(*found), strict=True))
        reading.into(view, joins, nodes)

    async def commit(
        self,
        loaded: Loaded,
        entry: str,
        changes: Changes,
        dead: Sequence[tuple[str, bytes]] = (),
        asking: Sequence[Asking] = (),
    ) -> list[int]:
        """Write all of a decision and acknowledge the entry of `active`, in one step.

        `asking` are node runs that it makes ready and that ask for their slots in the same step. Answers for each: 1 admitted,
        0 it must wait, -1 its run is paused.
        Raises CommitConflict when the run or one of its node runs is not as it was loaded; nothing is written then.
        """
        keys, run = self._keys, loaded.view.run.id
        names = [
            keys.run(run), keys.inbox(run), keys.active, keys.events(run), keys.joins(run), keys.queue, keys.timers,
            keys.launches, keys.dead, *(keys.node(run, ref) for ref in changes.nodes), keys.calls,
        ]  # fmt: skip
        held = _held(loaded.view, changes.release)
        more_names, more_args = extras(keys, loaded.view, changes, loaded.now)
        request = self._admission.request(asking, loaded.now) if asking else ((), ())
        names += (*(keys.pool(pool) for pool, _ in held), *request[0], *more_names)
        if changes.finished is not None:
            place = loaded.view.run.workflow, loaded.view.run.concurrency
            names += [keys.concurrency(*place), keys.concurrency_queue(*place), keys.finished]
        args: list[Arg] = [run, GROUP, entry, loaded.view.run.revision, changes.consumed]
        _sections(args, loaded, changes, held, dead, asking, request)
        _list(args, [1] if changes.finished is not None and loaded.view.run.concurrency else [])
        _list(args, [] if changes.finished is None else [loaded.now + self._pack_ms])
        args += more_args
        reply = await self._batcher.script(COMMIT, names, args, run)
        if reply[0] != 1:
            raise CommitConflict(f"run {run}: {reply[1:]!r}")
        self._tally.count(loaded.view, changes, loaded.now)
        return reply[2]

    async def signal(self, run: str, signal: Signal) -> bool:
        """Add a signal to a run's inbox. False where there is no such run."""
        keys = [self._keys.run(run), self._keys.inbox(run), self._keys.active]
        return await self._batcher.script(SIGNAL, keys, [run, encode(signal)]) == 1

    async def due_timers(self, limit: int) -> tuple[list[tuple[str, str, str]], float | None]:
        """Timers that are due as (run, ref, score), and the seconds until the next one, None without any."""
        now, coming, *rows = await self._batcher.script(DUE, [self._keys.timers], [limit])
        timers: list[tuple[str, str, str]] = []
        for member, score in zip(rows[::2], rows[1::2], strict=True):
            run, _, ref = member.decode().partition("|")
            timers.append((run, ref, score.decode()))
        return timers, None if coming is None else max(float(coming) - now, 0) / 1000

    async def fire(self, run: str, ref: str, score: str, signal: Signal) -> bool:
        """Turn a due timer into a signal, once. False where another worker did, or it was moved meanwhile."""
        keys = [self._keys.run(run), self._keys.inbox(run), self._keys.active, self._keys.timers]
        return (
            await self._batcher.script(SIGNAL, keys, [run, encode(signal), timer_member(run, ref), score])
            == 1
        )


def _reading(graph: Graph, signals: Sequence[Signal]) -> Reading | None:
    """The node runs and joins that these signals need; None when they need nothing. Raises EngineFault."""
    try:
        needs = wanted(graph, signals)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise EngineFault("a signal does not fit the graph of its run") from None
    if not needs.refs and not needs.joins:
        return None
    whole = bool(needs.joins) and len(graph.nodes) <= SMALL_RUN
    return Reading(list(needs.refs), list(needs.joins), whole, needs.feeds, list(needs.cached))


Held = dict[tuple[str, int], list[str]]
"""(pool, slots) -> tasks that give so many slots of the pool back."""


def _held(view: View, ended: Sequence[tuple[str, int, int]]) -> Held:
    """What the attempts that ended may hold: every pool that their nodes need."""
    held: Held = {}
    for ref, attempt, launch in ended:
        task = Task(view.run.id, ref, attempt, launch).encode()
        node = view.graph.node_of(ref)
        for need in pools_of(node.needs_slots, view.run.workflow):
            held.setdefault(need, []).append(task)
    return held


def waiting(view: View, ready: tuple[str, int, int]) -> Waiting:
    """A node run that a decision made ready, as it stands in the queue; one that waits already keeps its place."""
    run, lane = view.run, view.graph.lane(ready[0], view.run.priority)
    return Waiting(lane, view.nodes[ready[0]].ready, run.version, Task(run.id, *ready))


def _sections(
    args: list[Arg],
    loaded: Loaded,
    changes: Changes,
    held: Held,
    dead: Sequence[tuple[str, bytes]],
    asking: Sequence[Asking],
    request: tuple[Sequence[str], Sequence[Arg]],
) -> None:
    """The sections of the commit script, in its order."""
    run = loaded.view.run.id
    _pairs(args, changes.run.items())
    args.append(len(changes.nodes))
    for change in changes.nodes.values():
        fields = {**change.fields, "s": change.status}
        args += (change.expect_status, change.expect_attempt, change.expect_won, len(fields))
        for name, value in fields.items():
            args += (name, value)
    _pairs(args, ((name, count.encode()) for name, count in changes.joins.items()))
    _pairs(args, ((ms, timer_member(run, ref)) for ref, ms in changes.timers.items() if ms is not None))
    _list(args, [timer_member(run, ref) for ref, ms in changes.timers.items() if ms is None])
    asks = {tuple(each.waiting.task)[1:] for each in asking}
    _list(args, [waiting(loaded.view, ready).encode() for ready in changes.ready if ready not in asks])
    _list(args, [waiting(loaded.view, waited).encode() for waited in changes.unready])
    _list(args, [Task(run, *ended).encode() for ended in changes.release])
    args.append(len(held))
    for (_, slots), tasks in held.items():
        args.append(slots)
        _list(args, tasks)
    args.append(len(request[0]))
    args += request[1]
    args.append(orjson.dumps(changes.events) if changes.events else "")
    _list(args, [encode(signal) for signal in changes.append])
    _pairs(args, dead)
    _list(args, [Task(run, *call).encode() for call in changes.calls])


def _list(args: list[Arg], values: Sequence[Arg], each: int = 1) -> None:
    """A section: the number of its members, `each` values long, then the values."""
    args.append(len(values) // each)
    args.extend(values)


def _pairs(args: list[Arg], rows: Iterable[tuple[Arg, Arg]]) -> None:
    _list(args, [value for row in rows for value in row], each=2)
