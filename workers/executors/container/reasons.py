"""What an engine says of a launch: it runs, or it ended and how. Pure; JSON as the engine gives it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from app.core.signals import Signal, exit_of
from app.core.tasks import Task
from workers.executors.launchfiles import OUTPUT_LIMIT

Object = Mapping[str, Any]
OVER = ("exited", "stopped", "dead")
UNSTARTED = ("created", "configured", "initialized")


def state(found: Object) -> str:
    """Of a container, inspected or listed, in lower case."""
    told: Any = found.get("State")
    return str(told.get("Status") if isinstance(told, Mapping) else told or "").lower()


def ended(task: Task, found: Object, lost: str = "") -> Signal | None:
    """The end of a launch whose container was started; None while it goes on. `lost`: why its end is nobody's fault."""
    told, status = found["State"], state(found)
    if status in UNSTARTED:
        text = "the container engine knows no more how the container ended"
        return exit_of(task, type="lost", message=text, infra=True)
    if status not in OVER:
        return None
    code = int(told.get("ExitCode") or 0)
    code = 128 - code if code > 128 else code
    if lost or status == "dead" or told.get("Dead"):
        text = lost or "the container engine could not end the container in good order"
        return exit_of(task, code=code, type="lost", message=text, infra=True)
    if told.get("OOMKilled"):
        text = "the container used more memory than its limit"
        return exit_of(task, code=code, type="OOMKilled", message=text)
    return exit_of(task, code=code)


def gone(task: Task) -> Signal:
    """The end of a launch whose container was removed."""
    return exit_of(task, type="lost", message="the container of this launch was removed", infra=True)


def with_output(task: Task, raw: bytes | None) -> Signal:
    """An exit with 0 and what the program left as its metadata (at most OUTPUT_LIMIT + 1 bytes are looked at)."""
    if raw is None:
        return exit_of(task, code=0)
    if len(raw) > OUTPUT_LIMIT:
        text = f"the output is longer than {OUTPUT_LIMIT} bytes"
        return exit_of(task, code=0, type="bad_output", message=text)
    try:
        return exit_of(task, code=0, output=orjson.dumps(orjson.loads(raw)).decode())
    except ValueError:
        return exit_of(task, code=0, type="bad_output", message="the output is not valid JSON")


def created_ms(found: Object) -> float | None:
    """ms since the epoch, by the engine's clock; None where it is not told."""
    text = str(found.get("Created") or "")
    try:  # nanoseconds are more than fromisoformat takes
        moment = datetime.fromisoformat(text.partition(".")[0].rstrip("Z") + "+00:00")
    except ValueError:
        return None
    return moment.timestamp() * 1000
