"""`python -m headrace_nodes.manifests [--write]`: check or write the manifests."""

from __future__ import annotations

import sys

from headrace_nodes.manifests import stale, write


def main(arguments: list[str]) -> int:
    """The command; 1 when a manifest is not up to date, 2 for wrong usage."""
    if arguments == ["--write"]:
        write()
        return 0
    if arguments:
        sys.stderr.write("usage: python -m headrace_nodes.manifests [--write]\n")
        return 2
    old = stale()
    for name in old:
        sys.stderr.write(f"not up to date: {name} (run with --write)\n")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
