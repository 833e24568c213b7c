"""Workers are killed with -9 while they make Jobs and watch them: each launch has one Job, and each Job its log (M12, B7)."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from loadtests.jobs import Options, storm
from tests.kubernetes.conftest import TestCluster


async def test_no_job_is_lost_or_made_twice_and_none_is_without_its_log(cluster: TestCluster, tmp_path: Path):
    """Fault rows 1, 2, 3; `make jobs` does the same with thousands. Nodes and pods are simulated."""
    if cluster.own is None:
        pytest.fail("simulated nodes are parts of a cluster of ours")
    options = Options(jobs=40, seed=3, workers=2, kill_every=2.0, most_kills=3, lease=2.0, stall=60.0)
    made, ledger = await storm(cluster.own, options, tmp_path, Console(quiet=True))
    assert made.verdict.violations == []
    assert len(ledger.made) == 40
    assert made.kills.total() > 0
