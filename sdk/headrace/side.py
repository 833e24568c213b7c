"""Datasets that a node writes beside its results."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from headrace import datasets
from headrace.durable import Directories
from headrace.encode import line_of


def write_dataset(directories: Directories, path: Path, records: Iterable[Any]) -> tuple[int, str]:
    """Write records and publish their manifest at `path`. Returns their count and the SHA-256 of the
    stream."""
    directories.make(path.parent)
    data = path.with_name(f"{path.name}.{os.urandom(6).hex()}.ndjson")
    digest = hashlib.sha256()
    count = size = 0
    with open(data, "xb", buffering=1024 * 1024) as file:
        for record in records:
            line = line_of(record)
            digest.update(line)
            file.write(line)
            count, size = count + 1, size + len(line)
        file.flush()
        os.fsync(file.fileno())
    directories.settle(path.parent)
    part = datasets.Part(count, data.name, size)
    datasets.write(directories, path, datasets.Manifest(count, size, digest.hexdigest(), [part]))
    return count, digest.hexdigest()
