"""Pools: which slots a node run needs, where it waits for them, and whose turn it is (DESIGN section 6).

What waits is filed in lanes: a lane is all the waiting node runs of one workflow, priority and set of pools, in the order of
their becoming ready. Only the heads of lanes are ever compared, so ten thousand node runs that lack the same slot are one
comparison. Shares between workflows are kept by start-time fair queueing: each workflow has a virtual time that every
admission of it advances, the lowest goes first, and one that comes new begins at the present time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from app.core.tasks import Task

GLOBAL = "global"
"""The pool that every node run needs."""
POOL_PATTERN = r"^((type|workflow):[a-z][a-z0-9-]{0,62}|[a-z][a-z0-9_.-]{0,62})$"
TYPE = "type:"
WORKFLOW = "workflow:"
URGENT = 1
"""The most urgent priority."""
LEAST_URGENT = 5
STEP_MS = 60_000
"""Waiting for so long as the head of its lane makes a node run one step more urgent. What waits behind a head does not grow
urgent: else a long queue of one workflow would be more urgent than whatever another has just made ready."""
PATIENCE_MS = 600_000
"""Waiting for so long at priority 1 makes a head reserve slots that are freed."""
LOOKED_AT = 64
"""Lanes of one pool's queue that one look compares."""
TURN = 10**15
"""A lane's turn is its urgency * TURN + its virtual time: one number that sorts, exact in a double."""


@lru_cache(maxsize=8192)
def pools_of(needs: str, workflow: str) -> tuple[tuple[str, int], ...]:
    """(pool, slots) of all that a node run needs, in the order of names; `needs` as `needs_of` gives it."""
    node_type, _, named = needs.partition(":")
    pools = {GLOBAL: 1, WORKFLOW + workflow: 1}
    if node_type:
        pools[TYPE + node_type] = 1
    for each in named.split(",") if named else ():
        name, star, slots = each.partition("*")
        pools[name] = int(slots) if star else 1
    return tuple(sorted(pools.items()))


def needs_of(node_type: str | None, pools: Iterable[tuple[str, int]]) -> str:
    """The text "TYPE:pool,pool*slots" that a lane keeps; `node_type` as name@version, None where the node has none."""
    name = (node_type or "").partition("@")[0]
    return f"{name}:{','.join(pool if slots == 1 else f'{pool}*{slots}' for pool, slots in sorted(pools))}"


class Lane(NamedTuple):
    """Waiting node runs that only differ in when they became ready."""

    needs: str
    workflow: str
    priority: int

    def encode(self) -> str:
        return f"{self.needs}|{self.workflow}|{self.priority}"

    @classmethod
    def parse(cls, text: bytes | str) -> Lane:
        """Raises ValueError for anything else."""
        needs, workflow, priority = (text.decode() if isinstance(text, bytes) else text).split("|")
        return cls(needs, workflow, int(priority))

    @property
    def pools(self) -> tuple[tuple[str, int], ...]:
        """(pool, slots) of each pool it needs, in the order of names."""
        return pools_of(self.needs, self.workflow)

    @property
    def type(self) -> str:
        """The node type without its version; "" where its nodes have none."""
        return self.needs.partition(":")[0]

    @property
    def cost(self) -> int:
        """What an admission adds to the virtual time of its workflow."""
        return max(slots for _, slots in self.pools)

    def urgency(self, waited: int) -> int:
        """The priority of a head that has waited for so many ms."""
        return max(URGENT, self.priority - max(waited, 0) // STEP_MS)


class Waiting(NamedTuple):
    """A node run in the queue."""

    lane: Lane
    since: int
    """ms since the epoch when it became ready."""
    version: int
    """Of the workflow."""
    task: Task

    def encode(self) -> str:
        """As a member of the queue: those of a lane stand together, the longest waiting first."""
        return f"{self.lane.encode()}|{self.since:013d}|{self.version}|{self.task.encode()}"

    @classmethod
    def parse(cls, text: bytes | str) -> Waiting:
        """Raises ValueError for anything else."""
        needs, workflow, priority, rest = (text.decode() if isinstance(text, bytes) else text).split("|", 3)
        return cls.within(Lane(needs, workflow, int(priority)), rest)

    @classmethod
    def within(cls, lane: Lane, text: bytes | str) -> Waiting:
        """Of what follows its lane in a member of the queue. Raises ValueError for anything else."""
        since, version, task = (text.decode() if isinstance(text, bytes) else text).split("|", 2)
        return cls(lane, int(since), int(version), Task.parse(task))


@dataclass(slots=True)
class Line:
    """The front of a lane, as it was read."""

    lane: Lane
    tag: int
    """The virtual time at which it was filed."""
    headed: int
    """ms since the epoch from which its first head waits as such: it became ready, or the one before it was admitted."""
    heads: Sequence[Waiting]
    whole: bool
    """Nothing of the lane waits behind these heads."""


@dataclass(slots=True)
class Room:
    """What the pools have left, as one choice spends it."""

    free: dict[str, int]
    """Pool -> free slots; a pool that is not here has no limit."""
    reserved: Mapping[str, tuple[int, str]]
    """Pool -> (slots, member of the queue) that it is kept for."""

    def lacks(self, waiting: Waiting) -> str | None:
        """The first pool without room for it, None where all have room."""
        for pool, slots in waiting.lane.pools:
            free = self.free.get(pool)
            if free is None:
                continue
            aside, owner = self.reserved.get(pool, (0, ""))
            if aside and owner != waiting.encode():
                free -= aside
            if free < slots:
                return pool
        return None

    def take(self, waiting: Waiting) -> None:
        for pool, slots in waiting.lane.pools:
            if pool in self.free:
                self.free[pool] -= slots


@dataclass(slots=True)
class Choice:
    taken: list[Waiting]
    """In the order in which they are to be admitted."""
    passed: list[tuple[Lane, str]]
    """Lanes whose heads lack a slot, and the pool that has none."""
    more: bool
    """A lane was used up as far as it was read: there is more to be chosen from."""


def choose(
    lines: Sequence[Line],
    room: Room,
    shares: Mapping[str, int],
    places: int,
    now: int,
    fits: Callable[[Waiting], bool] = lambda _: True,
) -> Choice:
    """Whose turn it is: urgency, then the share of the workflow, then who waits longest.

    `shares` are the virtual times of workflows. A head that lacks a slot is passed over, and with it its lane; so is one that
    has its slots and does not fit: the worker that asks has no place for it.
    """
    times = dict(shares)
    choice = Choice([], [], False)
    turns = [(*_turn(line, 0, times, now), index, 0) for index, line in enumerate(lines) if line.heads]
    heapq.heapify(turns)
    while turns and len(choice.taken) < places:
        urgency, tag, since, index, at = heapq.heappop(turns)
        line = lines[index]
        present = (*_turn(line, at, times, now), index, at)
        if present > (urgency, tag, since, index, at):  # another lane of its workflow went first
            heapq.heappush(turns, present)
            continue
        head = line.heads[at]
        if (pool := room.lacks(head)) is not None:
            choice.passed.append((line.lane, pool))
            continue
        if not fits(head):
            continue
        room.take(head)
        choice.taken.append(head)
        times[line.lane.workflow] = tag + line.lane.cost
        if at + 1 < len(line.heads):
            heapq.heappush(turns, (*_turn(line, at + 1, times, now), index, at + 1))
        elif not line.whole:
            choice.more = True
            break
    return choice


def _turn(line: Line, at: int, times: Mapping[str, int], now: int) -> tuple[int, int, int]:
    urgency = line.lane.urgency(0 if at else now - line.headed)
    return urgency, max(line.tag, times.get(line.lane.workflow, 0)), line.heads[at].since
