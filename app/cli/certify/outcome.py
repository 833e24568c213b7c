"""What came of a run, and how two of them differ: metadata, the data that it names, failed records."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.certify.engine import Bench
from app.cli.certify.trial import Trial
from app.errors import Unavailable

DIGESTS = "headrace.digests"
"""The SDK's module that reads data; it runs in a process of its own. The URIs are those in the JSON that it is given."""
RUN, DATA = "{run}", "{data}"
"""Stand in metadata for the run's id, which differs whatever the node does, and for the data root."""
NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run; every text has RUN and DATA where the run's id and the data root were."""

    status: str
    """Of the node run: succeeded, failed, ...; "unfinished" where it was given up."""
    error: str
    """Why it failed, for people; "" where it did not."""
    metadata: Any
    files: dict[str, dict[str, Any]]
    """By the URI that metadata names: {"sha256", "bytes"}, {"sha256", "records"}, or {"error"} where it cannot be read."""
    failed: list[Any]
    """The ledger of failed records, in the order of the stream."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as in the unharmed run."""

    what: str
    """status, metadata, file, record or fence."""
    where: str
    """A JSON pointer into the metadata, the URI of a file, the index of a record."""
    expected: Any
    found: Any


async def outcome_of(bench: Bench, trial: Trial, data: Path, *, keep: bool) -> Outcome:
    """Read what came of a run below the data root; then, unless it is kept, remove its data.

    Raises Unavailable where the data cannot be read at all.
    """
    node = await bench.node(trial)
    ledger = await bench.ledger(trial)
    metadata = node.get("metadata")
    roots = [str(data), *bench.settings.data_roots.split(",")]
    files = await asyncio.to_thread(_digests, trial.run, roots, metadata)
    if not keep:
        await asyncio.to_thread(shutil.rmtree, data / trial.run, ignore_errors=True)
    error = node.get("error") or {}
    told = json.dumps([metadata, files, ledger]).replace(trial.run, RUN).replace(str(data), DATA)
    metadata, files, ledger = json.loads(told)
    if trial.given_up:
        return Outcome("unfinished", "it did not end in its time: see --limit", metadata, files, ledger)
    said = f"{error.get('type')}: {error.get('message')}" if error else ""
    return Outcome(str(node["status"]), said, metadata, files, ledger)


def _digests(run: str, roots: Sequence[str], metadata: Any) -> dict[str, dict[str, Any]]:
    if "file:" not in (text := json.dumps(metadata)):
        return {}
    command = [sys.executable, "-m", DIGESTS, run, *roots]
    ran = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    if ran.returncode:
        raise Unavailable(f"the data could not be read: {ran.stderr.decode(errors='replace').strip()}")
    found: dict[str, dict[str, Any]] = json.loads(ran.stdout)
    return found


def differences(reference: Outcome, found: Outcome) -> list[Difference]:
    """What is not as in the reference; empty where all is the same. A run that failed has that one difference."""
    if found.status != reference.status:
        said = f"{found.status}: {found.error}" if found.error else found.status
        return [Difference("status", "", reference.status, said)]
    wrong = [Difference("metadata", *each) for each in _unlike("", reference.metadata, found.metadata)]
    wrong += [
        Difference("file", uri, reference.files[uri], found.files[uri])
        for uri in sorted(reference.files.keys() & found.files.keys())
        if reference.files[uri] != found.files[uri]
    ]
    expected, seen = ({str(row.get("index")): row for row in each.failed} for each in (reference, found))
    return wrong + [
        Difference("record", index, expected.get(index, NOTHING), seen.get(index, NOTHING))
        for index in sorted(expected.keys() | seen.keys(), key=int)
        if expected.get(index) != seen.get(index)
    ]


def _unlike(at: str, expected: Any, found: Any) -> Iterator[tuple[str, Any, Any]]:
    """(JSON pointer, expected, found) of the smallest parts of two JSON values that differ."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            step = str(key).replace("~", "~0").replace("/", "~1")
            yield from _unlike(f"{at}/{step}", expected.get(key, NOTHING), found.get(key, NOTHING))
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from _unlike(f"{at}/{number}", one, other)
    elif expected != found or isinstance(expected, bool) is not isinstance(found, bool):
        yield at, expected, found
