"""Which format a catalog file has, told from its first bytes."""

from __future__ import annotations

import codecs
import csv
import re
from typing import Literal

Format = Literal["ndjson", "json", "csv", "shopify-csv"]

HEAD = 65_536
"""As many bytes as are looked at."""

_WRAPPED = re.compile(rb'\{\s*"(?:products|items|data)"\s*:\s*\[')


def detect(head: bytes) -> Format:
    """The format of a file that begins with `head`; whatever is no JSON is taken for CSV."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if text.startswith(b"["):
        return "json"
    if text.startswith(b"{"):
        return "json" if _WRAPPED.match(text) else "ndjson"
    line = text.split(b"\n", 1)[0].decode("utf-8", "replace")
    header = {name.strip() for row in csv.reader([line]) for name in row}
    if {"Handle", "Title"} <= header or {"URL handle", "Title"} <= header:
        return "shopify-csv"
    return "csv"
