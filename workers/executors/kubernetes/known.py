"""What is known of one launch in the cluster: its Job, its pods, and what of it was told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from math import inf
from typing import Any

from workers.executors.kubernetes import reasons


@dataclass(slots=True)
class Known:
    """A launch as the watches last told of it; Jobs and pods as reasons.slim leaves them."""

    job: dict[str, Any] = field(default_factory=dict[str, Any])
    """Empty until it was seen: its pod can be earlier."""
    pods: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """By UID."""
    gone: set[str] = field(default_factory=set[str])
    """UIDs of pods that were deleted."""
    refusal: str = ""
    """What the cluster last said instead of making its pod."""
    hindrance: reasons.Waiting | None = None
    since: int = 0
    """ms, by the store's clock: since when that is told."""
    silent: bool = False
    """The cluster heard nothing of its machine when it was last looked at."""
    told_at: float = 0.0
    counted: set[str] = field(default_factory=set[str])
    """UIDs of pods whose disruption was counted."""
    launched: bool = False
    told: bool = False
    given_up: bool = False
    """Too many of its pods were taken away: its end is told, and its Job would go on."""
    over: float | None = None
    """monotonic() when its attempt was first seen to be over."""
    renewed: float = -inf
    """monotonic() when its submission was last kept from being taken up by another worker."""
    deleted: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def telling(self) -> list[dict[str, Any]]:
        """The pods that say something: one that was seen to run and is gone went unseen to its end, which its Job knows."""
        return [pod for uid, pod in self.pods.items() if uid not in self.gone or reasons.over(pod)]

    @property
    def uid(self) -> str:
        """The UID of its Job; empty where that was not seen."""
        return str(self.job["metadata"]["uid"]) if self.job else ""

    def leaving(self) -> bool:
        """Whether a pod of it must go and has not ended: how long that takes is looked at."""
        return bool(self.pods) and any(reasons.leaving(pod) for pod in self.telling())
