"""What can go wrong with the test cluster."""

from __future__ import annotations


class ClusterError(Exception):
    """The cluster cannot be built, started or stopped; the message says what to do."""
