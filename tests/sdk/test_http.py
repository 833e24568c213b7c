"""The API may be down, slow or gone for a while; the token is never seen."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.environment import Place
from headrace.errors import ProtocolError
from headrace.http import HttpEngine
from headrace.testing import MemoryEngine

PLACE = Place(run="run-1", node="sample", item=None, data_uri="file:data")


@pytest.mark.parametrize("status", [500, 503, 429, None])
def test_a_call_that_the_api_could_not_answer_is_tried_again(
    status: int | None, server: Any, launch: Any, fault: Any
) -> None:
    server.faults = [fault("start", status), fault("checkpoints", status)]
    assert launch("Trivial").wait() == 0
    assert server.names() == ["start", "checkpoints"]
    assert [name for name, _ in server.requests] == ["start", "start", "checkpoints", "checkpoints"]


def test_an_answer_lost_after_it_took_effect_changes_nothing(
    server: Any, launch: Any, feed: Any, fault: Any
) -> None:
    server.engine = MemoryEngine(config={"uri": feed(3)})
    server.faults = [fault("start", after=True), fault("checkpoints", after=True)]
    assert launch("Copy").wait() == 0
    assert server.engine.epoch == 1
    assert server.engine.checkpoint.metadata["count"] == 3


def test_any_other_refusal_ends_the_node_with_a_clear_line(server: Any, launch: Any, fault: Any) -> None:
    server.faults = [fault("start", 401)]
    node = launch("Trivial")
    assert node.wait() == 1
    assert "start: HTTP 401 injected by the test" in node.stderr


def test_patience_with_an_api_that_is_down_ends(server: Any, fault: Any) -> None:
    server.faults = [fault("heartbeat", 503)] * 100
    engine = HttpEngine(server.url, "secret", PLACE)
    engine.patience = 0.3
    with pytest.raises(ProtocolError, match="does not answer: HTTP 503 for heartbeat"):
        engine.heartbeat(1)


def test_the_token_goes_with_every_call_and_leaves_the_environment(server: Any, launch: Any) -> None:
    node = launch("Telltale", SHOP_PASSWORD="hunter2-and-more")
    assert node.wait() == 1
    assert {authorization for _, authorization in server.requests} == {"Bearer token-that-nobody-may-see"}
    message = server.engine.failures[0]["message"]
    assert message.startswith("token gone, a secret of mine ***")
    assert "token-that-nobody-may-see" not in node.stderr
    assert "hunter2-and-more" not in node.stderr


def test_an_item_of_a_map_speaks_to_its_own_address(server: Any, launch: Any) -> None:
    server.engine = MemoryEngine(item={"uri": "file:x"}, index=7)
    assert launch("Trivial", HEADRACE_ITEM="7").wait() == 0


def test_metadata_by_reference_is_fetched_with_the_token(server: Any) -> None:
    server.engine = MemoryEngine(references={"/api/v1/runs/run-1/nodes/sample/inputs/read": {"count": 5}})
    engine = HttpEngine(server.url, "secret", PLACE)
    assert engine.fetch("/api/v1/runs/run-1/nodes/sample/inputs/read") == {"count": 5}
    assert server.requests[-1] == ("read", "Bearer secret")


def test_the_token_never_goes_to_another_address(server: Any) -> None:
    engine = HttpEngine(server.url, "secret", PLACE)
    with pytest.raises(ProtocolError, match="another address"):
        engine.fetch("http://elsewhere.example/steal")
    assert not server.requests


def test_a_node_started_by_hand_says_what_is_missing(launch: Any) -> None:
    node = launch("Trivial", HEADRACE_RUN_ID="")
    assert node.wait() == 42
    assert "HEADRACE_RUN_ID not set" in node.stderr
