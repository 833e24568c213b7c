"""The bodies of the node protocol (DESIGN 7), and their limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, Field, StringConstraints

from app.api.schemas import Input
from app.core.services import METADATA_LIMIT
from app.errors import InvalidInput, Place, TooLarge
from app.store.nodes import StepReport

MAX_POSITION = 64 << 10
"""Bytes of a position's data."""

_Epoch = Annotated[int, Field(ge=1, lt=1 << 53)]
_Count = Annotated[int, Field(ge=0, lt=1 << 53)]


class StartRequest(Input):
    """Begin, or begin again after a restart.

    `instance` is the pod's UID, or a UUID made at the process's start.
    """

    instance: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class Progress(Input):
    """How far execute is; for display only."""

    done: _Count
    total: _Count | None = None


class Step(Input):
    """With `seq` a position inside execute, without it the end of a step."""

    step: Literal["configure", "execute", "output", "finalize"]
    seq: _Count | None = None
    data: Any = None
    metadata: Any = None
    progress: Progress | None = None


class CheckpointRequest(Input):
    """Steps and positions, in order; all are taken or none."""

    epoch: _Epoch
    steps: Annotated[list[Step], Field(min_length=1, max_length=256)]


class FailedRecord(Input):
    """A record that failed: its position in the stream, and why.

    `at` is how many records the node had written before it: there a redo puts what the record gives then.
    """

    index: _Count
    at: _Count | None = None
    key: Annotated[str, StringConstraints(max_length=1024)] | None = None
    type: Annotated[str, StringConstraints(max_length=256)]
    message: Annotated[str, StringConstraints(max_length=4096)]


class RecordsRequest(Input):
    """Failed records for the ledger; the same index again replaces the entry.

    With `from` the entries of that index and of later ones are taken out first: what an earlier process left
    behind its last position.
    """

    epoch: _Epoch
    from_: _Count | None = Field(None, alias="from")
    failed: Annotated[list[FailedRecord], Field(max_length=1000)]


class HeartbeatRequest(Input):
    """I live."""

    epoch: _Epoch


class FailRequest(Input):
    """The attempt failed."""

    epoch: _Epoch
    type: Annotated[str, StringConstraints(max_length=256)]
    message: Annotated[str, StringConstraints(max_length=16384)]
    retryable: bool = True


class Redo(BaseModel):
    """A node run of an earlier run that succeeded but for `count` records: only those are to be done again.

    `data` is its last position, `href` leads to its ledger, in the order of the stream.
    """

    run: str
    data: Any
    count: int
    href: str


class Started(BaseModel):
    """What a node needs to begin or to go on."""

    epoch: int
    attempt: int
    config: Any
    inputs: dict[str, Any]
    checkpoint: dict[str, Any]
    tolerate: float
    heartbeat: float
    type: str | None
    redo: Redo | None


class Cancel(BaseModel):
    """Whether the node should stop."""

    cancel: bool


class Count(BaseModel):
    """How many failed records the ledger holds."""

    count: int


def step_reports(steps: list[Step]) -> list[StepReport]:
    """The steps as the store takes them.

    Raises InvalidInput for members that do not belong, TooLarge past the limits.
    """
    return [_report(step, f"/steps/{index}") for index, step in enumerate(steps)]


def _report(step: Step, place: str) -> StepReport:
    given = step.model_fields_set
    if step.seq is not None and step.step != "execute":
        raise InvalidInput(places=[Place(f"{place}/seq", "only execute has positions")])
    if step.seq is None and step.data is not None:
        raise InvalidInput(places=[Place(f"{place}/data", "data needs a seq")])
    output = step.step == "output"
    if not output and step.metadata is not None:
        raise InvalidInput(places=[Place(f"{place}/metadata", "only output brings metadata")])
    data = None if step.seq is None else bounded(step.data, f"{place}/data", MAX_POSITION)
    metadata = bounded(step.metadata, f"{place}/metadata") if output and "metadata" in given else None
    progress = step.progress
    return StepReport(
        step=step.step,
        seq=step.seq,
        data=data,
        metadata=metadata,
        done=progress.done if progress else None,
        total=progress.total if progress else None,
    )


def bounded(value: Any, place: str, limit: int = METADATA_LIMIT) -> bytes:
    """A value as JSON. Raises TooLarge, at `place`, where that is longer than `limit` bytes."""
    raw = orjson.dumps(value)
    if len(raw) > limit:
        raise TooLarge(places=[Place(place, f"{len(raw)} bytes; at most {limit} are allowed")])
    return raw
