"""The table of faults names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")


def test_every_test_in_the_table_of_faults_exists():
    named = NAMED.findall((ROOT / "tests" / "FAULTS.md").read_text("utf-8"))
    assert named
    missing = [
        f"{file}::{test}" for file, test in named if f"def {test}(" not in (ROOT / file).read_text("utf-8")
    ]
    assert not missing
