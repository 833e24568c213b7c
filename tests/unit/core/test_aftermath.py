"""Run triggers: which of them the end of a run fires, and what stops a loop."""

from __future__ import annotations

import orjson

from app.core.aftermath import MAX_CHAIN, fired, loop

END = {"run": "r1", "workflow": "importer", "version": 1, "status": "succeeded", "output": None}


def test_a_run_trigger_fires_for_its_workflow_and_status_only():
    triggers = [
        {"run": {"name": "good", "workflow": "importer"}},
        {"run": {"name": "bad", "workflow": "importer", "status": "failed"}},
        {"run": {"name": "other", "workflow": "exporter"}},
        {"webhook": {"name": "hook"}},
    ]
    assert [trigger["name"] for trigger in fired(triggers, END)] == ["good"]
    assert [trigger["name"] for trigger in fired(triggers, {**END, "status": "failed"})] == ["bad"]


def test_a_workflow_that_was_on_the_way_is_not_fired_again():
    assert loop("c", ["a", "b"]) is None
    assert loop("a", ["z", "a", "b"]) == "a loop of run triggers: a -> b -> a"


def test_a_chain_ends_somewhere():
    assert loop("new", [f"w{i}" for i in range(MAX_CHAIN - 1)]) is None
    assert "more than 16" in (loop("new", [f"w{i}" for i in range(MAX_CHAIN)]) or "")


def test_the_end_of_a_run_tells_what_it_came_by(world):
    run = world({"x": {"type": "step"}}, output={"n": 1}, begun=False)
    run.run["up"] = orjson.dumps({"via": ["a"]})
    run.settle()
    run.finish("x")
    (end,) = run.ended
    assert end == {"e": {"run": "r1", "workflow": "w", "version": 1, "status": "succeeded", "output": {"n": 1}},
                   "via": ["a", "w"]}  # fmt: skip
