"""Fault row 30: workers of two releases at once, as in a rollout. The older one gives back what it cannot read."""

from __future__ import annotations

import asyncio
from collections import Counter

LOAD = 20
PARENT = {"sub": {"workflow": "of-two-releases"}}
"""Its child's end is told by a signal that only the newer release reads."""


async def given_back(site) -> int:
    """How many runs wait with an entry that was given back, its delivery uncounted."""
    rows = await site.store.batcher.call("XPENDING", site.keys.active, "workers", "-", "+", 100)
    return sum(row[3] <= 1 for row in rows)


async def test_under_load_old_and_new_workers_together_lose_and_bury_nothing(site):
    child = {"name": "of-two-releases", "nodes": {"a": {"wait": {"duration": "50ms"}}}}
    (await site.http.put(f"/workflows/{child['name']}", json=child)).raise_for_status()
    await site.worker(older=True)
    first = await site.fire(PARENT, "parents", times=3)

    async def all_wait() -> bool:
        return await given_back(site) == len(first)

    await site.until(all_wait, "the older one alone leaves what it cannot read")
    await site.worker()
    runs = [*first, *await site.fire(PARENT, "parents", times=LOAD)]
    ends = await asyncio.gather(*(site.ended(run, 90) for run in runs))
    assert Counter(ends) == {"succeeded": len(runs)}
    buried = await site.store.batcher.call("XRANGE", site.keys.dead, "-", "+")
    assert not [row for row in buried if row[1][row[1].index(b"id") + 1].decode() in runs]
    await site.check(*runs)
