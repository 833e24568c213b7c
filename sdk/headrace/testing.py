"""Run a node without a server: the four steps against an engine in memory, with crashes wherever a test wants
them.

    outcome = run_node(Reprice, config={"percent": 5}, item={"uri": "file:in.ndjson"}, data_dir=tmp_path)
    assert outcome.metadata["count"] == 3

`kill_at` crashes the process at a record or a step and starts it again, as the engine would.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import orjson

from headrace.durable import Directories
from headrace.environment import Place
from headrace.errors import Fatal, ProtocolError, StaleEpoch, StepConflict
from headrace.files import FileGuard
from headrace.node import Node
from headrace.parts import PartStore
from headrace.position import MAX_BYTES, Position
from headrace.protocol import Checkpoint, Redoable, Start
from headrace.reporter import HOLD
from headrace.results import Results
from headrace.runner import Runner, data_prefix
from headrace.streams import Opener
from headrace.urls import UrlGuard

REDO = "redo"
STEPS = ("configure", "execute", "output", "finalize")


class Killed(BaseException):
    """The process died here."""


class MemoryEngine:
    """The engine's side of the node protocol, in memory: what it accepts and refuses is what the real one
    does."""

    def __init__(
        self,
        *,
        config: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        item: Any = None,
        index: int | None = None,
        tolerate: float = 0.0,
        heartbeat: float = 20.0,
        references: Mapping[str, Any] | None = None,
        redo: Outcome | None = None,
    ) -> None:
        """`references`: the answers of `fetch` by href. `redo`: what is done again for its failed records only."""
        self.config = dict(config or {})
        self.inputs = dict(inputs or {})
        self.item = item
        self.index = index
        self.tolerate = tolerate
        self.heartbeat_seconds = heartbeat
        self.references = dict(references or {})
        self.redo = redo
        self.attempt = 1
        self.epoch = 0
        self.checkpoint = Checkpoint()
        self.ledger: dict[int, dict[str, Any]] = {}
        self.failures: list[dict[str, Any]] = []
        self.calls: list[tuple[str, Any]] = []
        """Every call in order: its name, and its body."""
        self.positions: list[Any] = []
        self.cancel = False
        self._instance: str | None = None
        self._lock = threading.Lock()

    def start(self, instance: str) -> Start:
        """A new instance gets a new epoch; the same one the same answer."""
        with self._lock:
            self.calls.append(("start", {"instance": instance}))
            if instance != self._instance:
                self._instance = instance
                self.epoch += 1
            return Start(
                epoch=self.epoch,
                attempt=self.attempt,
                config=self.config,
                inputs=self.inputs,
                checkpoint=self.checkpoint,
                item=self.item,
                index=self.index,
                tolerate=self.tolerate,
                heartbeat=self.heartbeat_seconds,
                ledger=True,
                redo=self._redoable(),
            )

    def _redoable(self) -> Redoable | None:
        if self.redo is None:
            return None
        earlier = self.redo.engine
        return Redoable(self.redo.run, earlier.checkpoint.data, len(earlier.ledger), REDO)

    def checkpoints(self, epoch: int, steps: list[dict[str, Any]]) -> bool:
        """All or none, in order."""
        with self._lock:
            self._fence(epoch, "checkpoints", {"epoch": epoch, "steps": steps})
            checkpoint, positions = self.checkpoint, list(self.positions)
            for entry in orjson.loads(orjson.dumps(steps)):
                checkpoint = self._apply(checkpoint, entry, positions)
            self.checkpoint, self.positions = checkpoint, positions
            return self.cancel

    def records(self, epoch: int, failed: list[dict[str, Any]], since: int | None = None) -> int:
        """Idempotent by index."""
        with self._lock:
            more = {} if since is None else {"from": since}
            self._fence(epoch, "records", {"epoch": epoch, "failed": failed, **more})
            if len(failed) > 1000:
                raise ProtocolError("more than 1,000 records in one call")
            if since is not None:
                self.ledger = {index: entry for index, entry in self.ledger.items() if index < since}
            self.ledger.update({entry["index"]: entry for entry in failed})
            return len(self.ledger)

    def heartbeat(self, epoch: int) -> bool:
        """Whether the run is being cancelled."""
        with self._lock:
            self._fence(epoch, "heartbeat", {"epoch": epoch})
            return self.cancel

    def fail(self, epoch: int, type: str, message: str, retryable: bool) -> None:
        """The attempt has failed; the next start belongs to the next attempt."""
        with self._lock:
            failure = {"type": type, "message": message, "retryable": retryable}
            self._fence(epoch, "fail", {"epoch": epoch, **failure})
            self.failures.append(failure)

    def fetch(self, href: str) -> Any:
        """Metadata by reference; the ledger of what is redone."""
        self.calls.append(("fetch", href))
        if self.redo is not None and href.startswith(f"{REDO}?"):
            return self._ledger_page(self.redo, parse_qs(href.partition("?")[2]))
        if href not in self.references:
            raise ProtocolError(f"nothing at {href}")
        return self.references[href]

    def _ledger_page(self, redo: Outcome, query: dict[str, list[str]]) -> dict[str, Any]:
        limit, first = int(query["limit"][0]), int(query["cursor"][0])
        rows = [entry for entry in redo.failed if entry["index"] >= first]
        return {"items": rows[:limit], "next_cursor": str(rows[limit]["index"]) if rows[limit:] else None}

    def _fence(self, epoch: int, name: str, body: dict[str, Any]) -> None:
        self.calls.append((name, orjson.loads(orjson.dumps(body))))
        if epoch != self.epoch:
            raise StaleEpoch(f"epoch {epoch} is stale")

    def _apply(self, last: Checkpoint, entry: dict[str, Any], positions: list[Any]) -> Checkpoint:
        step = entry["step"]
        if "seq" in entry and last.seq is not None and entry["seq"] <= last.seq:
            if entry["seq"] < last.seq:
                raise StepConflict("seq went back")
            return last
        expected = STEPS[0] if last.step is None else (*STEPS, "nothing")[STEPS.index(last.step) + 1]
        if "seq" not in entry and last.step is not None and STEPS.index(step) <= STEPS.index(last.step):
            return last
        if step != expected:
            raise StepConflict(f"expected {expected}, not {step}")
        if "seq" not in entry:
            return last._replace(step=step, metadata=entry.get("metadata", last.metadata))
        if len(orjson.dumps(entry["data"])) > MAX_BYTES:
            raise ProtocolError("a position is at most 64 KiB")
        positions.append(entry["data"])
        return last._replace(seq=entry["seq"], data=entry["data"])


class Outcome(NamedTuple):
    """What came of a node run."""

    exit_code: int
    metadata: Any
    """None where the node did not get as far."""
    records: list[Any]
    """What execute wrote, in order."""
    failed: list[dict[str, Any]]
    """The ledger of failed records, by index."""
    error: dict[str, Any] | None
    """The last failure of the whole node: type, message, retryable."""
    crashes: int
    """How often the process was killed."""
    engine: MemoryEngine
    data_dir: Path
    run: str

    @property
    def digest(self) -> str:
        """SHA-256 of what execute wrote."""
        store, position = _store(self.engine, self.data_dir)
        return store.digest(position.segments).hexdigest()


def run_node(
    node_class: type[Node],
    *,
    config: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    item: Any = None,
    index: int | None = None,
    tolerate: float = 0.0,
    data_dir: str | Path | None = None,
    data_roots: Sequence[str | Path] = (),
    url_allow: Sequence[str] = (),
    kill_at: int | str | Sequence[int | str] = (),
    checkpoint_records: int | None = None,
    attempts: int = 1,
    run_id: str = "run-test",
    references: Mapping[str, Any] | None = None,
    engine: MemoryEngine | None = None,
    redo: Outcome | None = None,
) -> Outcome:
    """Run the four steps of a node to their end.

    `kill_at`: where the process dies, one death after another: a number is the index of a record (it dies as
    it takes
    that record), a word a step (it dies as the step has run, before its checkpoint is sent).
    `checkpoint_records`:
    records between two positions; 10 where `kill_at` is given. `attempts`: how many attempts retryable
    failures get. `redo`: an outcome with failed records in the same `data_dir`, under another `run_id`: only
    those are
    run again.
    """
    kills = [kill_at] if isinstance(kill_at, int | str) else list(kill_at)
    index = 0 if index is None and item is not None else index
    engine = engine or MemoryEngine(
        config=config, inputs=inputs, item=item, index=index, tolerate=tolerate, references=references,
        redo=redo,
    )  # fmt: skip
    data = Path(data_dir) if data_dir is not None else Path(tempfile.mkdtemp(prefix="headrace-"))
    place = Place(
        run=run_id,
        node=(node_class.type or "node").replace("-", "_"),
        item=index,
        data_uri=str(data),
        data_roots=tuple(str(root) for root in data_roots),
        url_allow=tuple(url_allow),
    )
    if checkpoint_records is None and kills:
        checkpoint_records = 10
    if checkpoint_records is not None:
        node_class = with_positions(node_class, checkpoint_records)
    code, crashes = _until_ended(node_class, engine, place, kills, attempts)
    return _outcome(engine, place, code, crashes)


def with_positions(node_class: type[Node], records: int) -> type[Node]:
    """The same node with a position after at most so many records."""
    return type(node_class.__name__, (node_class,), {"checkpoint_records": records})


def _until_ended(
    node_class: type[Node], engine: MemoryEngine, place: Place, kills: list[int | str], attempts: int
) -> tuple[int, int]:
    """Start the node again after every crash, and after every retryable failure while attempts are left."""
    crashes = life = 0
    left = list(kills)
    while True:
        life += 1
        death = _Death(left[0] if left else None)
        runner = Runner(
            node_class, engine, place, hold=0 if kills else HOLD, probe=death.at_step, wrap=death.at_record
        )
        try:
            code = runner.run(f"process-{engine.epoch + 1}")
        except Killed:
            left.pop(0)
            crashes += 1
            continue
        if code != 1 or not engine.failures or engine.attempt >= attempts:
            return code, crashes
        engine.attempt += 1


class _Death:
    """Where one process dies."""

    def __init__(self, at: int | str | None) -> None:
        if isinstance(at, str) and at not in STEPS:
            raise Fatal(f"kill_at: a record's index or one of {', '.join(STEPS)}, not {at!r}")
        self._at = at

    def at_step(self, step: str) -> None:
        if step == self._at:
            raise Killed(step)

    def at_record(self, records: Iterator[Any], skipped: int) -> Iterator[Any]:
        for number, record in enumerate(records, skipped):
            if number == self._at:
                raise Killed(number)
            yield record


def _store(engine: MemoryEngine, prefix: Path) -> tuple[PartStore, Position]:
    return PartStore(prefix, engine.attempt, engine.epoch, Directories(prefix)), Position.load(
        engine.checkpoint.data
    )


def _outcome(engine: MemoryEngine, place: Place, code: int, crashes: int) -> Outcome:
    prefix = data_prefix(place)
    store, position = _store(engine, prefix)
    opener = Opener(FileGuard([place.data_uri]), UrlGuard())
    records = list(Results(store, position, opener)) if position.segments else []
    return Outcome(
        exit_code=code,
        metadata=engine.checkpoint.metadata,
        records=records,
        failed=[engine.ledger[index] for index in sorted(engine.ledger)],
        error=engine.failures[-1] if engine.failures else None,
        crashes=crashes,
        engine=engine,
        data_dir=prefix,
        run=place.run,
    )
