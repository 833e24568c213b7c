"""Run triggers: which triggers the end of a run fires, and the guard against loops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MAX_CHAIN = 16
"""Workflows on the way to a run, over run triggers and parents, beyond which no run trigger fires."""


def fired(triggers: Iterable[Mapping[str, Any]], event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those run triggers of a document that wait for this end; `event` is {run, workflow, version, status, output}."""
    waiting = (trigger["run"] for trigger in triggers if "run" in trigger)
    return [
        trigger
        for trigger in waiting
        if trigger["workflow"] == event["workflow"] and trigger.get("status", "succeeded") == event["status"]
    ]


def loop(workflow: str, via: Sequence[str]) -> str | None:
    """Why a run trigger of `workflow` must not fire after a run that came by these workflows; None where it may."""
    if workflow in via:
        return f"a loop of run triggers: {' -> '.join([*via[via.index(workflow) :], workflow])}"
    if len(via) >= MAX_CHAIN:
        return f"a chain of more than {MAX_CHAIN} workflows, each fired by the one before it"
    return None
