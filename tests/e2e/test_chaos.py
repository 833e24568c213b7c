"""The program behind `make chaos`, small: the same senders, the same kills, the same oracle."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from loadtests.chaos import Chaos, Options


@pytest.mark.timeout(240)  # it takes 40 s on two idle cores
async def test_webhooks_posted_while_everything_is_killed_become_one_undisturbed_run_each(tmp_path: Path):
    options = Options(webhooks=25, seed=11, kill_every=1.2, most_kills=14, rate=4.0, stall=60.0)
    chaos = Chaos(options, tmp_path, Console())
    with chaos.history:
        violations = await chaos.run()
    assert violations == []
    assert len(chaos.ended) == 25
    assert all(chaos.faults.kills[kind] for kind in ("worker", "valkey", "node", "api"))
