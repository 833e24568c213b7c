"""Fault row 13: the store comes back in an older state while Jobs of the lost future live, or have ended.

What the store still knows of is adopted, so it does not run a second time beside its Job; what it knows nothing of is stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.embedded import EmbeddedValkey
from app.errors import StoreUnavailable
from tests.kubernetes.site import STOPPABLE
from tests.rewinding import remember, rewind

OUTPUT = """printf '{"rows": 3}' > $HEADRACE_OUTPUT"""
PATIENCE = 180.0
"""Seconds, on a machine that does much else."""
GATE = "while [ ! -e /tmp/go ]; do sleep 0.2; done; "


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server for one test, which takes it back in time."""
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


async def jobs(site: Any) -> dict[str, str]:
    """UID -> node type of each Job that is not being deleted."""
    metadata = [each["metadata"] for each in await site.items("jobs")]
    return {
        each["uid"]: each["labels"]["app.kubernetes.io/component"]
        for each in metadata
        if "deletionTimestamp" not in each
    }


async def answering(site: Any) -> None:
    """Our own connection is made again."""

    async def answers() -> bool:
        try:
            return await site.store.workers.now() > 0
        except StoreUnavailable:
            return False

    await site.until(answers, "the store answers")


async def test_jobs_of_a_lost_future_are_adopted_or_stopped(site, valkey: EmbeddedValkey, tmp_path: Path):
    lives, ended, stray = (
        site.shell(script).model_copy(update={"name": name})
        for name, script in {"lives": GATE + OUTPUT, "ended": OUTPUT, "stray": STOPPABLE}.items()
    )
    run = await site.fire({"type": "lives"}, lives, ended, nodes={"other": {"type": "ended"}})
    remember(valkey, tmp_path / "past")
    await answering(site)
    worker = site.process("worker")

    async def other_has_ended() -> bool:
        return (await site.store.runs.node(run, "other"))["status"] == "succeeded"

    await site.until(other_has_ended, "one node has ended", PATIENCE)
    pod = await site.pod()
    await site.fire({"type": "stray"}, stray, name="later")

    async def all_three() -> dict[str, str] | None:
        found = await jobs(site)
        return found if Counter(found.values()) == {"lives": 1, "ended": 1, "stray": 1} else None

    before = await site.until(all_three, "each node run has its Job", PATIENCE)
    rewind(valkey, tmp_path / "past")
    await answering(site)

    async def heard() -> bool:
        return any("its process runs" in each["detail"] for each in await site.why(run))

    await site.until(heard, "the store hears again that the pod runs, so that no start timeout ends it")

    async def stray_has_gone() -> bool:
        return "stray" not in (await jobs(site)).values()

    await site.until(stray_has_gone, "the Job that the store knows nothing of is stopped")
    await site.execute(pod, "touch", "/tmp/go")
    await site.ended(run)
    for ref in ("work", "other"):
        node = await site.store.runs.node(run, ref)
        assert (node["status"], node["attempt"], node["infrastructure_faults"]) == ("succeeded", 1, 0)
        assert node["metadata"] == {"rows": 3}
    assert await jobs(site) == {uid: kind for uid, kind in before.items() if kind != "stray"}
    assert worker.poll() is None
