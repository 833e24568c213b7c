"""A node of the SDK whose error repeats the token it was given."""

from __future__ import annotations

import os

TOKEN = os.environ["HEADRACE_TOKEN"]  # before the SDK takes it out of the environment

from headrace import Context, Node, Results  # noqa: E402


class Leaks(Node):
    """Fails, and says too much"""

    type = "leaks"

    def configure(self, ctx: Context) -> None:
        raise RuntimeError(f"the search engine refused Bearer {TOKEN}\r\nand said no more")

    def output(self, ctx: Context, results: Results) -> None:
        return None


if __name__ == "__main__":
    Leaks.main()
