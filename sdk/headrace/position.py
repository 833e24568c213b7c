"""The position: how far execute has come, small enough for a checkpoint whatever the number of records.

Parts are named by arithmetic: a process writes into one directory of its own, `ATTEMPT-EPOCH`, files
000000.ndjson,
000001.ndjson, …. So a position needs one `Segment` per process that ever wrote, never one entry per part.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from headrace.errors import Fatal

MAX_BYTES = 64 * 1024
"""Size of a position's data that the engine accepts."""


class Segment(NamedTuple):
    """What one process committed: `closed` whole parts (listed in the directory's index), then a piece of the
    next."""

    directory: str
    closed: int
    records: int
    """Records in the piece of the part number `closed`."""
    bytes: int
    """Length of that piece; 0 where there is none."""


class Redone(NamedTuple):
    """How far a redo of an earlier run's failed records has come."""

    done: int = 0
    """Failed records that were taken again."""
    next: int = 0
    """The next one's index in the stream is this or a later one."""
    records: int = 0
    """Records of the earlier results that were copied, ..."""
    bytes: int = 0
    """... and their bytes."""


class Position(NamedTuple):
    """Everything before it is done, and durable."""

    consumed: int = 0
    """Records taken from the stream, failed ones included."""
    emitted: int = 0
    """Records written."""
    failed: int = 0
    bytes: int = 0
    """Length of the logical stream that was written."""
    segments: tuple[Segment, ...] = ()
    state: Any = None
    """The node's own `ctx.state`, JSON."""
    clean: Position | None = None
    """The last position before any record failed; where a retry after too many failures begins again."""
    redo: Redone | None = None
    """There where only the failed records of an earlier run are taken: `consumed` counts its whole stream."""

    def dump(self) -> dict[str, Any]:
        """As JSON for the checkpoint."""
        body: dict[str, Any] = {
            "v": 1,
            "consumed": self.consumed,
            "emitted": self.emitted,
            "failed": self.failed,
            "bytes": self.bytes,
            "segments": [list(segment) for segment in self.segments],
        }
        if self.state:
            body["state"] = self.state
        if self.clean is not None:
            body["clean"] = self.clean.dump()
        if self.redo is not None:
            body["redo"] = list(self.redo)
        return body

    @classmethod
    def load(cls, body: Any) -> Position:
        """Read what `dump` wrote. Raises Fatal for data of another version."""
        if body is None:
            return cls()
        if body.get("v") != 1:
            raise Fatal("the position was written by another version of the SDK")
        return cls(
            consumed=body["consumed"],
            emitted=body["emitted"],
            failed=body["failed"],
            bytes=body["bytes"],
            segments=tuple(Segment(*segment) for segment in body["segments"]),
            state=body.get("state"),
            clean=cls.load(body["clean"]) if "clean" in body else None,
            redo=Redone(*body["redo"]) if "redo" in body else None,
        )
