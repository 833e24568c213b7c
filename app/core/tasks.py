"""A task: one launch of one attempt of one node run, as it stands in queues, pools and process records."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple


def split_ref(ref: str) -> tuple[str, int | None]:
    """The node's name and, for an item of a map, its index."""
    if ":" not in ref:
        return ref, None
    name, _, index = ref.partition(":")
    return name, int(index)


def timer_member(run: str, ref: str) -> str:
    """The member of the timers that belongs to a node run."""
    return f"{run}|{ref}"


class Task(NamedTuple):
    run: str
    ref: str
    """The node, or "node:index" for an item of a map."""
    attempt: int
    launch: int
    """How many infrastructure faults the node run had before."""

    def encode(self) -> str:
        return f"{self.run}|{self.ref}|{self.attempt}|{self.launch}"

    @classmethod
    def parse(cls, text: bytes | str) -> Task:
        """Raises ValueError for anything else."""
        run, ref, attempt, launch = (text.decode() if isinstance(text, bytes) else text).split("|")
        return cls(run, ref, int(attempt), int(launch))

    @property
    def timer(self) -> str:
        return timer_member(self.run, self.ref)

    @property
    def traceparent(self) -> str:
        """W3C trace context: the run is the trace, this launch a span of it."""
        trace = blake2b(self.run.encode(), digest_size=16).hexdigest()
        span = blake2b(self.encode().encode(), digest_size=8).hexdigest()
        return f"00-{trace}-{span}-01"
