"""The administrator's kubectl."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.errors import ClusterError


class Kubectl:
    """kubectl with one kubeconfig."""

    def __init__(self, binary: str, kubeconfig: Path) -> None:
        self._command = [binary, f"--kubeconfig={kubeconfig}"]
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.environ.get("HOME", "/")}

    def __call__(self, *arguments: str, given: str | None = None) -> str:
        """What it prints. `given` is its standard input. Raises ClusterError when it fails."""
        done = subprocess.run(
            [*self._command, *arguments],
            input=given,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def succeeds(self, *arguments: str) -> bool:
        """Whether it does."""
        try:
            self(*arguments)
        except ClusterError:
            return False
        return True

    def get(self, *arguments: str) -> dict[str, Any]:
        """An object, or a list of them under `items`."""
        return json.loads(self("get", *arguments, "-o", "json"))

    def apply(self, objects: Sequence[dict[str, Any]]) -> None:
        """Make the objects what they should be."""
        self(
            "apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        )

    @contextmanager
    def forwarded(self, namespace: str, what: str, port: int) -> Generator[str]:
        """`host:port` on this machine that leads to a port of a pod or service. Raises ClusterError."""
        with subprocess.Popen(
            [*self._command, "port-forward", f"--namespace={namespace}", what, f":{port}"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                line = process.stdout.readline() if process.stdout is not None else ""
                found = re.search(r"127\.0\.0\.1:\d+", line)
                if found is None:
                    raise ClusterError(f"kubectl port-forward {what}: {line.strip()}")
                yield found[0]
            finally:
                process.terminate()
