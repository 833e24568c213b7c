"""The shape of a workflow: its edges, its cycles, and whether what an expression reads is really upstream.

Everything here is iterative and near linear: a chain of 200,000 nodes is as fine as a fan-out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from app.core.pointers import Problems, pointer, suggest
from app.core.spec import Node

MAX_VISITS = 20_000_000
"""Edges looked at to prove that what is read is upstream: a few seconds. Direct needs cost none."""
MAX_SUGGESTED = 5_000
"""Names among which a suggestion is sought; among more it would take too long."""
MAX_CYCLE = 12
"""Nodes of a cycle that are named."""


class Read(NamedTuple):
    """An expression at the place `at` reads the node `target`; allowed if `target` is `reader` or above it.

    `itself` says whether the reader's own result may be read: an edge's condition reads the upstream end.
    """

    at: str
    reader: str
    target: str
    itself: bool


class Shape:
    """The edges of a document: upstream and downstream by name, without those that lead nowhere."""

    def __init__(self, nodes: Mapping[str, Node], problems: Problems) -> None:
        self.up: dict[str, list[str]] = {}
        self.down: dict[str, list[str]] = {name: [] for name in nodes}
        for name, node in nodes.items():
            self.up[name] = self._needs(name, node, problems)
            for need in self.up[name]:
                self.down[need].append(name)

    def _needs(self, name: str, node: Node, problems: Problems) -> list[str]:
        found: dict[str, None] = {}
        for index, entry in enumerate(node.needs or ()):
            need = entry if isinstance(entry, str) else entry.node
            if need in self.down and need != name and need not in found:
                found[need] = None
                continue
            at = pointer("nodes", name, "needs", index)
            if need in found:
                problems.add(at, f"'{need}' is listed twice")
            elif need == name:
                problems.add(at, f"a node cannot need itself: {name} -> {name}")
            else:
                problems.add(at, f"there is no node '{need}'{_hint(need, self.down)}")
        return list(found)

    def levels(self) -> dict[str, int]:
        """Each node's longest distance from a root; nodes on or below a cycle are missing."""
        waiting = {name: len(needs) for name, needs in self.up.items()}
        level = dict.fromkeys((name for name, count in waiting.items() if count == 0), 0)
        ready = deque(level)
        done: dict[str, int] = {}
        while ready:
            name = ready.popleft()
            done[name] = level[name]
            for child in self.down[name]:
                level[child] = max(level.get(child, 0), level[name] + 1)
                waiting[child] -= 1
                if waiting[child] == 0:
                    ready.append(child)
        return done

    def cycle(self, done: Mapping[str, int]) -> list[str]:
        """One cycle among the nodes that `levels` could not place: along the edges, from its first in the document."""
        left = next(name for name in self.up if name not in done)
        path: dict[str, None] = {}
        while left not in path:
            path[left] = None
            left = next(need for need in self.up[left] if need not in done)
        names = list(path)
        names = names[names.index(left) :][::-1]
        members = set(names)
        first = names.index(next(name for name in self.up if name in members))
        return names[first:] + names[:first]


def _hint(name: str, known: Collection[str]) -> str:
    return suggest(name, known) if len(known) <= MAX_SUGGESTED else ""


def check_cycles(shape: Shape, problems: Problems) -> dict[str, int] | None:
    """The levels of all nodes, or None and a problem that names a cycle."""
    levels = shape.levels()
    if len(levels) == len(shape.up):
        return levels
    names = shape.cycle(levels)
    shown = [*names, names[0]]
    if len(shown) > MAX_CYCLE:
        shown = [*shown[: MAX_CYCLE - 2], f"... ({len(names) - MAX_CYCLE + 2:,} more)", shown[-1]]
    problems.add(pointer("nodes", names[0], "needs"), f"the nodes form a cycle: {' -> '.join(shown)}")
    return None


def check_reads(shape: Shape, levels: Mapping[str, int], reads: Sequence[Read], problems: Problems) -> None:
    """Refuse each read of a node that is not upstream of its reader."""
    open_reads: dict[str, list[Read]] = {}
    for read in reads:
        if read.target not in shape.up:
            problems.add(read.at, f"there is no node '{read.target}'{_hint(read.target, shape.up)}")
        elif (
            read.reader in shape.up
            and not (read.itself and read.target == read.reader)
            and not _is_direct(shape, read)
        ):
            open_reads.setdefault(read.target, []).append(read)
        if problems.full:
            return
    visits = 0
    for target, waiting in open_reads.items():
        above, visits = _above(shape, levels, target, {read.reader for read in waiting}, visits)
        if visits > MAX_VISITS:
            problems.add(
                waiting[0].at,
                "too many expressions read nodes far upstream: pass values on from node to node",
            )
            return
        for read in waiting:
            if read.reader not in above:
                problems.add(
                    read.at,
                    f"'{target}' is not upstream of '{read.reader}': only nodes before it can be read",
                )
        if problems.full:
            return


def _is_direct(shape: Shape, read: Read) -> bool:
    """Whether the target is a direct need; the shorter end of the edge is searched."""
    needs, children = shape.up[read.reader], shape.down[read.target]
    return read.target in needs if len(needs) <= len(children) else read.reader in children


def _above(
    shape: Shape, levels: Mapping[str, int], target: str, readers: set[str], visits: int
) -> tuple[set[str], int]:
    """Those of `readers` that are below `target`, and the visits so far. Stops when all are found."""
    deepest = max(levels[reader] for reader in readers)
    found: set[str] = set()
    seen = {target}
    waiting = deque((target,))
    while waiting and len(found) < len(readers) and visits <= MAX_VISITS:
        for child in shape.down[waiting.popleft()]:
            visits += 1
            if child in seen or levels[child] > deepest:
                continue
            seen.add(child)
            waiting.append(child)
            if child in readers:
                found.add(child)
    return found, visits
