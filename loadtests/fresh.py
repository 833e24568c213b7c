"""Run a command against a fresh `headrace dev`, which is gone afterwards:

    python -m loadtests.fresh locust -f loadtests/locustfile.py --headless --users 20 --run-time 30s

HEADRACE_URL and HEADRACE_API_KEY are set for the command; its exit code is ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from loadtests.dev import Dev, interruptible


def main(command: list[str]) -> int:
    """Start, run, stop; the command's exit code."""
    if not command:
        sys.stderr.write(__doc__ or "")
        return 2
    interruptible()
    with tempfile.TemporaryDirectory(prefix="headrace-fresh-") as folder:
        dev = Dev(Path(folder))
        try:
            ready = dev.start()
            here = {"HEADRACE_URL": ready.url, "HEADRACE_API_KEY": ready.api_key}
            path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
            return subprocess.run(command, env=os.environ | here | {"PATH": path}, check=False).returncode
        finally:
            dev.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
