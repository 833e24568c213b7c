"""noop: its metadata is its config, and it takes as long and fails as its config says."""

from __future__ import annotations

import time
from typing import Any

import pytest

from headrace.testing import run_node
from headrace_nodes.noop import Noop


def test_the_metadata_is_the_config_as_it_was_written():
    config = {"brand": "fjellro", "count": 3, "items": [{"n": 1}], "none": None}
    assert run_node(Noop, config=config).metadata == config


def test_it_takes_as_long_as_its_config_says():
    begun = time.monotonic()
    assert run_node(Noop, config={"takes": "300ms"}).metadata == {"takes": "300ms"}
    assert time.monotonic() - begun >= 0.3


@pytest.mark.parametrize(
    ("config", "tried", "code"),
    [({"fail": True}, 3, 1), ({"fail_attempts": 2}, 3, 0), ({"fatal": True}, 1, 42)],
)
def test_it_fails_as_its_config_says(config: dict[str, Any], tried: int, code: int):
    outcome = run_node(Noop, config=config, attempts=3)
    assert (outcome.exit_code, outcome.engine.attempt) == (code, tried)
    assert outcome.error is not None
    assert (outcome.error["type"], outcome.error["retryable"]) == ("Broken", "fatal" not in config)
