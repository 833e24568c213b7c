"""Every example in the README works as printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from headrace.testing import run_node

README = Path(__file__).parents[2] / "sdk" / "README.md"


def test_the_examples_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "readme"}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    for node in (names["Embed"], names["Fetch"]):
        node.configure = lambda self, ctx: [{"title": "kettle"}]  # pyright: ignore[reportUnknownLambdaType]
        assert len(run_node(node, data_dir=tmp_path).records) == 1
