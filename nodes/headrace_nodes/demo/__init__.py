"""The demo: a small catalog of four invented brands with pictures of its own, and the workflow that publishes
it.

`make_demo` draws and writes everything here but the workflow; `python -m headrace_nodes.demo.make_demo` does
it again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

HOME: Final = Path(__file__).parent
ROOT: Final = HOME / "root"
"""The data root to declare: the demo's file URIs are relative to it."""
FEED: Final = "file:demo/catalog.ndjson"
"""The catalog, below ROOT."""
SHOPIFY_FEED: Final = "file:demo/shopify.csv"
"""The same products as a Shopify export."""
WORKFLOW: Final = HOME / "brand-aggregator.yaml"
BROKEN: Final = "petit-orme-09"
"""The one product whose picture is broken on purpose."""
