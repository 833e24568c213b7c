"""A real Kubernetes on one machine, for tests: `python -m tests.cluster --help`.

Every component is the real one, built from its Go module (modules/) into a cache outside the tree and run as a plain
process: no Docker, no virtual machine, no registry. It needs root, since containers do.
"""
