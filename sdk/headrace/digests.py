"""What lies behind the URIs that metadata names, told by digests: `python -m headrace.digests RUN ROOT...`.

Reads a JSON value from stdin and answers with a JSON object: for each `file:` URI in it {"sha256", "bytes"} of a file,
{"sha256", "records"} of a dataset, or {"error"} where it cannot be read. The digest of a dataset is of its records in
order, however its parts are cut, and of the files that its records name. The run's id counts as if it were {run}, so that
two runs which did the same have the same digests. Only files below the roots are opened.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from headrace import datasets
from headrace.encode import line_of
from headrace.errors import HeadraceError
from headrace.files import FileGuard
from headrace.formats import Bad
from headrace.streams import Opener
from headrace.urls import UrlGuard

CHUNK = 1024 * 1024
RUN = b"{run}"


class Digests:
    """Of the data of one run."""

    def __init__(self, run: str, roots: Sequence[str]) -> None:
        self._run = run.encode()
        self._opener = Opener(FileGuard(roots), UrlGuard())

    def of(self, uri: str, *, follow: bool = True) -> dict[str, Any]:
        """{"sha256", "bytes"}, {"sha256", "records"} or {"error"}; `follow`: files that records name count too."""
        try:
            if "#" in uri or self._is_dataset(uri):
                return self._records(uri, follow)
            return self._file(uri)
        except (HeadraceError, OSError) as error:
            return {"error": str(error) or type(error).__name__}

    def _is_dataset(self, uri: str) -> bool:
        file, _, _ = self._opener.binary(uri)
        with file:
            return file.read(len(datasets.MAGIC)) == datasets.MAGIC

    def _records(self, uri: str, follow: bool) -> dict[str, Any]:
        count, sha = 0, hashlib.sha256()
        for record in self._opener.open(uri).read():
            count += 1
            line = str(record.error).encode() if isinstance(record, Bad) else line_of(record)
            sha.update(line.replace(self._run, RUN))
            for each in named(record) if follow and not isinstance(record, Bad) else ():
                sha.update(line_of(self.of(each, follow=False)))
        return {"sha256": sha.hexdigest(), "records": count}

    def _file(self, uri: str) -> dict[str, Any]:
        count, sha, tail = 0, hashlib.sha256(), b""
        file, _, _ = self._opener.binary(uri)
        with file:
            while chunk := file.read(CHUNK):
                count += len(chunk)
                content = (tail + chunk).replace(self._run, RUN)
                kept = max(len(content) - len(self._run), 0)  # the id may go on in the next piece
                sha.update(content[:kept])
                tail = content[kept:]
        sha.update(tail)
        return {"sha256": sha.hexdigest(), "bytes": count}


def named(value: Any) -> Iterator[str]:
    """Every file: URI in a JSON value."""
    if isinstance(value, str):
        if value.startswith("file:"):
            yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from named(each)


if __name__ == "__main__":
    import orjson

    found = Digests(sys.argv[1], sys.argv[2:])
    asked = sorted(set(named(orjson.loads(sys.stdin.buffer.read()))))
    sys.stdout.buffer.write(orjson.dumps({uri: found.of(uri) for uri in asked}) + b"\n")
