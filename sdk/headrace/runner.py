"""The runner: the four steps of one node run, each checkpointed, begun where the last process came to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from headrace.context import Context, Identity
from headrace.control import Control, Stopped
from headrace.durable import Directories
from headrace.environment import Place
from headrace.errors import Cancelled, Fatal, HeadraceError, ProtocolError, StaleEpoch
from headrace.execute import Execution, records_of, total_of
from headrace.files import FileGuard, path_of
from headrace.inputs import Inputs
from headrace.node import Node
from headrace.parts import PartStore, PartWriter
from headrace.position import Position
from headrace.protocol import Engine, Start
from headrace.redact import Redactor
from headrace.redo import Base, Redo, beginning, from_ledger
from headrace.reporter import HOLD, Reporter
from headrace.results import Results
from headrace.streams import Opener
from headrace.urls import Resolver, UrlGuard, resolve

MAX_METADATA = 256 * 1024
DONE, FAILED, STALE, FATAL, STOPPED = 0, 1, 3, 42, 143
"""Exit codes."""

Probe = Callable[[str], None]
"""Called after a step's own code ran, before its checkpoint; the test runner crashes a node there."""


def data_root(place: Place) -> Path:
    """The directory that HEADRACE_DATA_URI names."""
    return Path(os.path.abspath(path_of(place.data_uri)))


def data_prefix(place: Place) -> Path:
    """The directory of a node run below the data root."""
    base = data_root(place) / place.run / place.node
    return base if place.item is None else base / str(place.item)


class Runner:
    """Runs one node class once. `control` is shared with whoever handles signals."""

    def __init__(
        self,
        node_class: type[Node],
        engine: Engine,
        place: Place,
        *,
        control: Control | None = None,
        redact: Redactor | None = None,
        resolver: Resolver = resolve,
        hold: float = HOLD,
        probe: Probe | None = None,
        wrap: Callable[[Iterator[Any], int], Iterator[Any]] | None = None,
    ) -> None:
        """`wrap(records, skipped)` may replace the records on their way to execute; for tests."""
        self._class = node_class
        self._engine = engine
        self._place = place
        self._control = control or Control()
        self._redact = redact or Redactor()
        self._probe = probe or _nothing
        self._wrap = wrap
        self._hold = hold
        self._prefix = data_prefix(place)
        self._directories = Directories(data_root(place))
        files = FileGuard([place.data_uri, *place.data_roots])
        self._opener = Opener(files, UrlGuard(place.url_allow, resolver))
        self._won = False

    def run(self, instance: str) -> int:
        """Run to the end; returns the exit code. Only what is no Exception gets out, as a crash would."""
        reporter: Reporter | None = None
        start: Start | None = None
        try:
            start = self._engine.start(instance)
            reporter = Reporter(self._engine, start.epoch, start.heartbeat, self._control, hold=self._hold)
            reporter.start()
            self._steps(start, reporter)
            return DONE
        except Cancelled:
            return self._leave(reporter, DONE)
        except Stopped:
            return self._leave(reporter, STOPPED)
        except StaleEpoch:
            return STALE
        except ProtocolError as error:
            self._say(f"the engine refused a call: {error}")
            return FAILED
        except Exception as error:
            return self._failed(error, start, reporter)
        finally:
            if reporter is not None:
                reporter.close()

    def _steps(self, start: Start, reporter: Reporter) -> None:
        step = start.checkpoint.step
        if step == "finalize":
            return
        node, ctx = self._class(), self._context(start)
        if step == "output":
            self._won = True
            ctx.state = Position.load(start.checkpoint.data).state or {}
        else:
            results = self._results(node, ctx, start, reporter)
            metadata = self._metadata(node.output(ctx, results))
            self._probe("output")
            reporter.step({"step": "output", "metadata": metadata})
            if type(node).finalize is Node.finalize:
                reporter.step({"step": "finalize"})
                reporter.flush()
                return
            reporter.flush()
            self._won = True
        self._control.interruptible = False
        node.finalize(ctx)
        self._probe("finalize")
        reporter.step({"step": "finalize"})
        reporter.flush()

    def _results(self, node: Node, ctx: Context, start: Start, reporter: Reporter) -> Results:
        """Run what is left of configure and execute."""
        store = PartStore(self._prefix, start.attempt, start.epoch, self._directories)
        position = Position.load(start.checkpoint.data)
        if start.checkpoint.step == "execute":
            ctx.state = position.state or {}
            return Results(store, position, self._opener)
        stream = node.configure(ctx)
        self._probe("configure")
        if start.checkpoint.step is None:
            reporter.step({"step": "configure"})
        digest = None
        base = self._base(start, position)
        if base is not None and position.redo is None:
            position = beginning(base)
        if stream is not None or _overrides_execute(node):
            chosen: Any = [{}] if stream is None else stream
            writer = PartWriter(store, position, node.part_bytes)
            common: dict[str, Any] = {
                "start": position,
                "seq": start.checkpoint.seq or 0,
                "writer": writer,
                "reporter": reporter,
                "control": self._control,
                "redact": self._redact,
                "ledger": start.ledger,
            }
            if base is not None and start.redo is not None and position.redo is not None:
                execution = Redo(base, node, ctx, total=start.redo.failed, **common)
                records, skipped = execution.failed_ones(chosen), position.redo.done
            else:
                execution = Execution(node, ctx, total=total_of(chosen), **common)
                records, skipped = records_of(chosen, position.consumed), position.consumed
            position = self._execute(execution, writer, records, skipped)
            digest = writer.sha256()
        self._probe("execute")
        reporter.step({"step": "execute"})
        return Results(store, position, self._opener, digest)

    def _base(self, start: Start, position: Position) -> Base | None:
        """The node run whose failed records alone are to be done; None: the whole stream is."""
        if start.redo is None or (start.checkpoint.seq is not None and position.redo is None):
            return None
        earlier = Position.load(start.redo.data)
        if earlier.failed != start.redo.failed:
            return None  # its ledger does not hold all of them
        prefix = data_prefix(self._place._replace(run=start.redo.run))
        store = PartStore(prefix, start.attempt, start.epoch, self._directories)
        return Base(earlier, store, from_ledger(self._engine.fetch, start.redo.href))

    def _execute(
        self, execution: Execution, writer: PartWriter, records: Iterator[Any], skipped: int
    ) -> Position:
        self._control.interruptible = False
        try:
            position = execution.run(self._wrap(records, skipped) if self._wrap else records)
        except Stopped:
            execution.commit()
            raise
        finally:
            writer.close()
            self._control.interruptible = True
        self._control.check()
        return position

    def _context(self, start: Start) -> Context:
        place = self._place
        return Context(
            Identity(place.run, place.node, start.attempt, start.epoch, start.index),
            config=self._config(start.config),
            inputs=Inputs(start.inputs, self._engine.fetch),
            item=start.item,
            tolerate=start.tolerate,
            prefix=self._prefix,
            directories=self._directories,
            opener=self._opener,
            control=self._control,
        )

    def _config(self, raw: dict[str, Any]) -> Any:
        """The validated configuration. Raises Fatal that names each field, never the values."""
        model = self._class.Config
        if model is None:
            return raw
        from pydantic import ValidationError

        try:
            return model.model_validate(raw)
        except ValidationError as error:
            raise Fatal(f"invalid config: {_problems(error)}") from None

    def _metadata(self, returned: Any) -> dict[str, Any]:
        """What `output` returned, as JSON. Raises Fatal where it does not fit."""
        model, value = self._class.Metadata, returned
        if isinstance(value, dict) and model is not None:
            from pydantic import ValidationError

            try:
                value = model.model_validate(value)
            except ValidationError as error:
                raise Fatal(
                    f"output returned metadata that its Metadata model refuses: {_problems(error)}"
                ) from None
        dump = getattr(value, "model_dump", None)
        value = {} if value is None else value if dump is None else dump(mode="json")
        if not isinstance(value, dict):
            raise Fatal(f"output must return the Metadata model or a dict, not {type(value).__name__}")
        try:
            size = len(orjson.dumps(value))
        except TypeError as error:
            raise Fatal(f"the metadata is not JSON: {error}") from None
        if size > MAX_METADATA:
            raise Fatal(
                f"the metadata has {size} bytes; at most {MAX_METADATA} fit: name data by a URI instead"
            )
        return value

    def _leave(self, reporter: Reporter | None, code: int) -> int:
        """Send what is queued, as far as possible, and exit with `code`."""
        try:
            if reporter is not None:
                reporter.flush()
        except StaleEpoch:
            return STALE
        except ProtocolError as error:
            self._say(f"could not report the last position: {error}")
        return code

    def _failed(self, error: Exception, start: Start | None, reporter: Reporter | None) -> int:
        """Report a failure of the whole node."""
        retryable = error.retryable if isinstance(error, HeadraceError) else True
        kind = error.code if isinstance(error, HeadraceError) and error.code else type(error).__name__
        message = self._redact(str(error) or kind)
        if not isinstance(error, HeadraceError):
            import traceback

            sys.stderr.write(self._redact("".join(traceback.format_exception(error))) + "\n")
        self._say(f"{kind}: {message}")
        try:
            if reporter is not None and start is not None:
                reporter.flush()
                self._engine.fail(start.epoch, kind, message, retryable)
        except StaleEpoch:
            return STALE
        except ProtocolError as refused:
            self._say(f"could not report the failure: {refused}")
        if self._won:
            return DONE
        return FAILED if retryable else FATAL

    def _say(self, text: str) -> None:
        sys.stderr.write(f"headrace: {self._place.node}: {text}\n")
        sys.stderr.flush()


def _overrides_execute(node: Node) -> bool:
    kind = type(node)
    return kind.execute is not Node.execute or kind.execute_batch is not Node.execute_batch


def _problems(error: Any) -> str:
    """pydantic's findings without the values, which may be secrets."""
    return "; ".join(
        f"{'.'.join(map(str, found['loc'])) or 'value'}: {found['msg']}" for found in error.errors()
    )


def _nothing(_step: str) -> None:
    pass
