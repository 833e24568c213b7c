"""One table says which transitions exist."""

from __future__ import annotations

import pytest

from app.core.states import (
    NODE_TERMINAL,
    NODE_TRANSITIONS,
    RUN_TERMINAL,
    RUN_TRANSITIONS,
    NodeStatus,
    RunStatus,
    check_node,
    check_run,
)
from app.errors import EngineFault


def test_terminal_states_are_those_of_the_design():
    assert {"succeeded", "failed", "skipped", "blocked", "cancelled"} == NODE_TERMINAL
    assert {"succeeded", "failed", "cancelled"} == RUN_TERMINAL


@pytest.mark.parametrize("before", list(NodeStatus))
@pytest.mark.parametrize("after", list(NodeStatus))
def test_a_node_run_moves_only_along_the_table(before: NodeStatus, after: NodeStatus):
    if after in NODE_TRANSITIONS[before]:
        check_node(before, after)
    else:
        with pytest.raises(EngineFault):
            check_node(before, after)


@pytest.mark.parametrize("before", list(RunStatus))
@pytest.mark.parametrize("after", list(RunStatus))
def test_a_run_moves_only_along_the_table(before: RunStatus, after: RunStatus):
    if after in RUN_TRANSITIONS[before]:
        check_run(before, after)
    else:
        with pytest.raises(EngineFault):
            check_run(before, after)


def test_every_live_state_can_be_cancelled_and_every_state_reached():
    live = set(NodeStatus) - NODE_TERMINAL
    assert all(NodeStatus.CANCELLED in NODE_TRANSITIONS[status] for status in live)
    assert set().union(*NODE_TRANSITIONS.values()) == set(NodeStatus) - {NodeStatus.PENDING}
