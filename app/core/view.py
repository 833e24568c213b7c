"""What the core reads and what it answers: the view of a run, and the changes that follow from its signals.

The records of the store are described here once. They use short field names, since every finished run keeps them.

Node run (one hash, the checkpoint hash):
  s status; a attempt; l infrastructure faults so far (the launch number); e epoch; i instance; w ms when won
  p last step that ended; q seq and d data of the position inside execute; kc ke ko kf "epoch:digest" of each ended step
  m metadata (JSON); c rendered config (JSON); v the item (JSON, items only); x error (JSON)
  h last heartbeat ms; y ready ms; b starting ms; g launched ms; r running ms; z ended ms; u waiting until ms
  t why its process must stop (of a map: why it starts nothing further); tm when that was decided; pd, pt progress;
  fr count of failed records
  er why its executor cannot run it yet (JSON {code, detail, since ms, a attempt, l launch, f ms since when it has room});
  holds while the node run is live and a, l are its own: Unschedulable, ImagePullBackOff, ...: see hindrances.py
  dp uids of pods that the cluster took away while their launch went on in another, comma separated
  A<n> an attempt that ended before the last: {started, ended, error} (JSON)
  services only: su the rendered URL; d after a 202, as app/core/services.py says: the call waits for its callback or is
  polled; dw while waiting: the host whose circuit was open; cb "attempt:digest" of the callback that failed it.
  When a call is looked at next (polled, sent again, given up) is its score in the key `calls`: store.calls.next.
  Whether a host's circuit is open is told by store.circuits.get.
  taken over from an earlier run: kr the run that it ran in (its data, logs and items are there); kn of a map that is not
  kept itself: its items below this number may have been, each with its own kr; rd, there before it has begun: the run in which
  it succeeded but for some records, which alone it does again (its last position and its ledger are there)
  child runs only: ch the child run of the present attempt; its params are c
  approvals only: am the message; u its timeout, 0 for none; ad the decision (JSON {approved, by, at, comment}), with w
  cache: ck the name of its entry; cf where its metadata came from (JSON {run, node, at})
  maps only: n count; o next item; ok, bad terminal items; j bytes of the items' metadata; os where the items come from
  (see app/core/mapdata.py); ov the items that are at hand, from item number of on (JSON)
Run (one hash):
  s status; w workflow; v version; p params; l labels; ev event (JSON); c created ms; b started ms; z ended ms
  e why its node runs are being cancelled: cancelled, timeout or failure; em since when ms; cr cancel asked for ms
  ck its concurrency key's digest, cl the limit as JSON {key, max, on_limit, max_queued}; qz waits for a place since ms
    (who runs and who waits: w:NAME:c:DIGEST and w:NAME:q:DIGEST of app/store/keys.py; "-" is the digest where it only
    waits for its workflow, which is paused since `paused` of w:NAME)
  pz paused since ms; pt ms paused altogether before that; rz last resumed ms
  k revision; ac 1 while marked active; n node count; d terminal nodes; f failed nodes; o output; x error; t receipt;
  src source; y priority (absent: 3); up (JSON) what it comes from. A retry or fork: of, by, at, config (app/core/retrying.py).
  A child run: r, n, a run, node run and attempt that wait for it; d its depth below a run that is nobody's child; deep 1 when
  child runs of it went too deep. Both: via the workflows on the way to it, over parents and run triggers
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from app.core.graph import Graph
from app.core.signals import Signal
from app.core.states import NodeStatus, RunStatus

NODE_FIELDS = (
    "s", "a", "l", "e", "w", "p", "h", "b", "g", "r", "u", "t", "tm", "m", "x", "n", "o", "ok", "bad", "j", "ov", "v", "y",
    "os", "of", "er", "dp", "kr", "kn", "ch", "ad", "ck", "rd",
)  # fmt: skip
"""The fields that a decision reads, in the order of NodeView.parse."""
RUN_FIELDS = ("s", "w", "v", "p", "ev", "c", "k", "n", "d", "f", "b", "e", "pz", "pt", "rz", "y", "ck", "up")
DEFAULT_PRIORITY = 3


@dataclass(slots=True)
class NodeView:
    """A node run as it was loaded. Times are ms since the epoch, 0 where they have not come."""

    status: NodeStatus = NodeStatus.PENDING
    attempt: int = 0
    launch: int = 0
    epoch: int = 0
    won: int = 0
    step: str = ""
    heartbeat: int = 0
    starting: int = 0
    launched: int = 0
    running: int = 0
    until: int = 0
    stop: str = ""
    stop_at: int = 0
    metadata: bytes | None = None
    error: bytes | None = None
    count: int = 0
    cursor: int = 0
    ok: int = 0
    bad: int = 0
    metadata_bytes: int = 0
    over: bytes | None = None
    item: bytes | None = None
    ready: int = 0
    source: str = ""
    """Of a map: where its items come from; the words of app.core.mapdata."""
    first: int = 0
    """The number of the first item in `over`."""
    executor: bytes | None = None
    """Why its executor cannot run it yet, as it was told last; the words of app.core.hindrances."""
    disruptions: int = 0
    """Pods that the cluster took away while their launch went on in another: infrastructure faults."""
    kept: bool = False
    """It was taken over from an earlier run, as it ended there."""
    kept_items: int = 0
    """Of a map: below which number its items may be kept ones."""
    child: str = ""
    """The child run that it waits for."""
    decision: bytes | None = None
    """Of an approval."""
    cache_key: str = ""
    redo: bool = False
    """Only the failed records of its node run in an earlier run are done."""

    @classmethod
    def parse(cls, values: list[bytes | None]) -> NodeView:
        """From the reply of HMGET NODE_FIELDS."""
        *most, kr, kn, ch, ad, ck, rd = values
        s, a, l, e, w, p, h, b, g, r, u, t, tm, m, x, n, o, ok, bad, j, ov, v, y, os, of, er, dp = most  # noqa: E741
        if s is None:
            return cls(kept_items=int(kn or 0), redo=rd is not None)
        return cls(
            _STATUS[s], int(a or 0), int(l or 0), int(e or 0), int(w or 0), (p or b"").decode(), int(h or 0),
            int(b or 0), int(g or 0), int(r or 0), int(u or 0), (t or b"").decode(), int(tm or 0), m, x, int(n or 0),
            int(o or 0), int(ok or 0), int(bad or 0), int(j or 0), ov, v, int(y or 0),
            (os or b"").decode(), int(of or 0), er, dp.count(b",") + 1 if dp else 0, kr is not None, int(kn or 0),
            (ch or b"").decode(), ad, (ck or b"").decode(), rd is not None,
        )  # fmt: skip


@dataclass(slots=True)
class RunView:
    """The run as it was loaded."""

    id: str
    status: RunStatus
    workflow: str
    version: int
    revision: int
    total: int
    done: int
    failed: int
    created: int
    params_json: bytes
    event_json: bytes | None = None
    started: int = 0
    ending: str = ""
    """Why its node runs are being cancelled; empty while it goes on."""
    paused: int = 0
    """Since when, 0 while it is not."""
    paused_before: int = 0
    """ms that it was paused altogether before."""
    resumed: int = 0
    priority: int = DEFAULT_PRIORITY
    """Of its node runs that have none of their own: 1 to 5, 1 the most urgent."""
    concurrency: str = ""
    """The digest of the key under which it has or waits for a place; empty: none."""
    origin: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What it comes from: the members of `up`."""

    @property
    def depth(self) -> int:
        return self.origin.get("d", 0)

    @classmethod
    def parse(cls, run: str, values: list[bytes | None]) -> RunView | None:
        """From the reply of HMGET RUN_FIELDS; None where there is no such run."""
        s, w, v, p, ev, c, k, n, d, f, b, e, pz, pt, rz, y, ck, up = values
        if s is None or w is None:
            return None
        return cls(run, RunStatus(s.decode()), w.decode(), int(v or 0), int(k or 0), int(n or 0), int(d or 0),
                   int(f or 0), int(c or 0), p or b"{}", ev, int(b or 0), (e or b"").decode(), int(pz or 0),
                   int(pt or 0), int(rz or 0), int(y or DEFAULT_PRIORITY), (ck or b"").decode(),
                   orjson.loads(up) if up else {})  # fmt: skip


@dataclass(slots=True)
class JoinCount:
    """How the upstream nodes of a node ended so far; `decided` ("x" in the store) ends the counting."""

    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    decided: bool = False

    @classmethod
    def parse(cls, raw: bytes | None) -> JoinCount:
        if raw is None:
            return cls()
        if raw == b"x":
            return cls(decided=True)
        succeeded, failed, skipped = raw.split(b",")
        return cls(int(succeeded), int(failed), int(skipped))

    def encode(self) -> str:
        return "x" if self.decided else f"{self.succeeded},{self.failed},{self.skipped}"


@dataclass(slots=True)
class View:
    """Everything a decision may read. What is missing from it is asked for by a continuation signal."""

    graph: Graph
    run: RunView
    nodes: dict[str, NodeView]
    """Node runs that were loaded, by ref; one without a key is there as pending."""
    joins: dict[str, JoinCount]
    """By node name."""
    joins_whole: bool = False
    """The whole hash was loaded: a node that is missing has no count yet."""
    resumed: int = 0
    """ms of the last pause of the store: heartbeats count from there at the earliest."""
    feeds: Mapping[str, tuple[int, Sequence[Any]]] = field(
        default_factory=dict[str, tuple[int, Sequence[Any]]]
    )
    """By the name of a map: items that were read for it, and the number of the first of them."""
    cached: Mapping[str, bytes | None] = field(default_factory=dict[str, bytes | None])
    """Entries of the cache that were looked up, by name."""


@dataclass(slots=True)
class Wanted:
    """What must be loaded to decide some signals."""

    refs: set[str] = field(default_factory=set[str])
    """Of node runs."""
    joins: set[str] = field(default_factory=set[str])
    """Names of nodes whose joins are read."""
    feeds: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    """By the name of a map: the source of its items, and from which on they are needed."""
    cached: set[str] = field(default_factory=set[str])
    """Names of entries of the cache."""


Value = str | int | bytes
_STATUS = {status.encode(): status for status in NodeStatus}


class ChildStart(NamedTuple):
    """A child run to start, through the queue of triggers."""

    run: str
    ref: str
    attempt: int
    workflow: str
    version: int | None
    """None: the newest."""


@dataclass(slots=True)
class NodeChange:
    """One node run's part of a commit: applied only while its status, attempt and winning are the expected ones."""

    expect_status: NodeStatus
    expect_attempt: int
    expect_won: int
    """Not compared for a pending one, which has no key."""
    status: NodeStatus
    fields: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class Changes:
    """What one decision writes, all of it in one script."""

    consumed: int = 0
    """Signals at the head of the inbox that were decided."""
    run: dict[str, Value] = field(default_factory=dict)
    nodes: dict[str, NodeChange] = field(default_factory=dict)
    joins: dict[str, JoinCount] = field(default_factory=dict)
    timers: dict[str, int | None] = field(default_factory=dict)
    """By ref, the run's own by "": ms when it is due, or None to remove it."""
    ready: list[tuple[str, int, int]] = field(default_factory=list)
    """(ref, attempt, launch) of node runs that wait for admission."""
    unready: list[tuple[str, int, int]] = field(default_factory=list)
    """(ref, attempt, launch) of node runs that wait for admission no more."""
    release: list[tuple[str, int, int]] = field(default_factory=list)
    """(ref, attempt, launch) of attempts that ended and give their slots back."""
    calls: list[tuple[str, int, int]] = field(default_factory=list)
    """(ref, attempt, launch) of calls to services that were given up: their workers let go of them."""
    append: list[Signal] = field(default_factory=list)
    events: list[Mapping[str, Any]] = field(default_factory=list)
    finished: RunStatus | None = None
    chunks: dict[str, Sequence[bytes]] = field(default_factory=dict)
    """By the name of a map: its items in chunks, where they are too many for its node run."""
    failed_items: list[tuple[str, int]] = field(default_factory=list)
    """(map, item) of items that ended without success, for the ledger."""
    cached: list[tuple[str, bytes, int]] = field(default_factory=list)
    """(name, value, ms to keep it) of entries for the cache."""
    children: list[ChildStart] = field(default_factory=list)
    """Child runs to start."""
    cancel: list[str] = field(default_factory=list)
    """Child runs that nobody waits for any more."""
    tell: list[tuple[str, Signal]] = field(default_factory=list)
    """(run, signal) for the inbox of another run, which keeps this one as long as it is kept itself."""
    ended: bytes | None = None
    """What run triggers are told of a run that ended (JSON {e: event, via})."""
