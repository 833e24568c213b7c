"""A greedy list scheduler (Graham 1966) that costs nothing: whenever a slot is free, what has been ready longest takes it."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Attempt:
    """One attempt of a node, as it was drawn before the run."""

    seconds: float
    fails: bool


def makespan(
    needs: Mapping[str, Sequence[str]], attempts: Mapping[str, Sequence[Attempt]], slots: int, back_off: float
) -> float:
    """Seconds from the first start to the last end, with `back_off` seconds between a node's attempts."""
    children: defaultdict[str, list[str]] = defaultdict(list)
    for node, parents in needs.items():
        for parent in parents:
            children[parent].append(node)
    missing = Counter({node: len(parents) for node, parents in needs.items()})
    begun = Counter[str]()
    ready = [(0.0, node) for node in needs if not missing[node]]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and ready[0][0] <= now and len(running) < slots:
            node = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + attempts[node][begun[node]].seconds, node))
        waits = ready[0][0] if ready and len(running) < slots else float("inf")
        if not running or waits < running[0][0]:
            now = waits
            continue
        now, node = heapq.heappop(running)
        failed = attempts[node][begun[node]].fails
        begun[node] += 1
        if failed:
            heapq.heappush(ready, (now + back_off, node))
            continue
        for child in children[node]:
            missing[child] -= 1
            if not missing[child]:
                heapq.heappush(ready, (now, child))
    return now
