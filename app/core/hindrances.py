"""What hinders a launch, as its executor told: the field `er` of a node run. Why and timers read it."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from app.core.tasks import Task

NO_ROOM = frozenset({"Unschedulable", "QuotaExceeded", "ClusterUnavailable"})
"""The cluster has no room for it now, or takes nothing of ours: that is a queue, and no fault of the launch."""


class Hindrance(NamedTuple):
    code: str = ""
    """The executor's word: Unschedulable, ImagePullBackOff, ...; empty: nothing unusual."""
    detail: str = ""
    since: int = 0
    """ms, since when it is so."""
    room: int = 0
    """ms, since when the cluster has room for it; 0 where it always had."""

    @property
    def no_room(self) -> bool:
        return self.code in NO_ROOM

    @classmethod
    def of(cls, raw: bytes | None, attempt: int, launch: int) -> Hindrance:
        """From the field; nothing where it is of an earlier launch."""
        told: dict[str, Any] = orjson.loads(raw) if raw else {}
        if (told.get("a"), told.get("l")) != (attempt, launch):
            return cls()
        return cls(
            str(told.get("code", "")),
            str(told.get("detail", "")),
            int(told.get("since", 0)),
            int(told.get("f", 0)),
        )

    def followed_by(self, code: str, detail: str, now: int) -> Hindrance:
        """What is told now, after this one."""
        since = self.since if code == self.code else now
        room = now if self.no_room and code not in NO_ROOM else self.room
        return Hindrance(code, detail, since, room)

    def encode(self, task: Task) -> bytes:
        return orjson.dumps({"code": self.code, "detail": self.detail, "since": self.since, "f": self.room,
                             "a": task.attempt, "l": task.launch})  # fmt: skip
