"""Node: the base class of every node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.context import Context
    from headrace.results import Results


class Node:
    """One piece of business logic over one finite stream of records, in four steps.

    Override what the node needs. Exactly one of `execute` (plain or `async def`) and `execute_batch` is used:
    the batch form wins where both are overridden. Steps may run in different processes after a crash, so keep
    nothing
    on `self` between steps; `ctx.state` is kept with the position.
    """

    type: ClassVar[str] = ""
    """The name in the catalog of node types, for example `catalog-reprice`."""
    version: ClassVar[int] = 1
    title: ClassVar[str] = ""
    icon: ClassVar[str] = "box"
    category: ClassVar[str] = "Other"
    description: ClassVar[str] = ""
    resources: ClassVar[dict[str, Any]] = {}
    """Kubernetes resource requests and limits, for example {"requests": {"memory": "256Mi"}}."""
    Config: ClassVar[Any] = None
    """A pydantic model of the static configuration; `ctx.config` is its instance (None: the plain dict)."""
    Metadata: ClassVar[Any] = None
    """A pydantic model of what `output` returns."""

    batch_size: ClassVar[int] = 100
    """Records that `execute_batch` gets at a time."""
    concurrency: ClassVar[int] = 16
    """Records that an `async def execute` has in flight at a time."""
    checkpoint_seconds: ClassVar[float] = 2.0
    """Longest time between two positions."""
    checkpoint_records: ClassVar[int] = 100_000
    """Most records between two positions."""
    part_bytes: ClassVar[int] = 8 * 1024 * 1024
    """Size past which a part file is closed and the next begun."""

    def configure(self, ctx: Context) -> Iterable[Any] | None:
        """Turn configuration and incoming metadata into a finite stream; None means one empty record.

        It runs again when the node resumes inside execute, and must then give the same records in the same
        order.
        """
        return None

    def execute(self, ctx: Context, record: Any) -> Any:
        """Turn one record into one (dict), none (None) or several (list). An exception fails only this
        record."""
        return record

    def execute_batch(self, ctx: Context, records: list[Any]) -> list[Any] | None:
        """Turn `batch_size` records into any number. A batch that raises is run again record by record."""
        raise NotImplementedError

    def output(self, ctx: Context, results: Results) -> Any:
        """Turn the results into metadata: the Metadata model or a dict."""
        return {"uri": results.uri, "count": results.count, "failed": results.failed} if results.total else {}

    def finalize(self, ctx: Context) -> None:
        """Clean up, after `output` was accepted. Never delete what the metadata names."""

    def key(self, record: Any) -> str | None:
        """How a failed record is named in the ledger: its id, sku or key."""
        if isinstance(record, dict):
            for name in ("id", "sku", "key"):
                if isinstance(record.get(name), str | int):
                    return str(record[name])
        return None

    @classmethod
    def main(cls) -> NoReturn:
        """Run this node as a process: read HEADRACE_* from the environment, run the steps, exit."""
        from headrace.process import run

        raise SystemExit(run(cls))

    @classmethod
    def manifest(cls) -> dict[str, Any]:
        """The node type manifest (JSON) that the engine's catalog reads."""
        from headrace.typemanifest import describe

        return describe(cls)
