"""A node's process starts quickly because it imports little."""

from __future__ import annotations

import subprocess
import sys

import pytest


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-S", "-c", code], check=True, capture_output=True, text=True, env=_env()
    )
    return set(output.stdout.split())


def _env() -> dict[str, str]:
    import headrace

    return {"PYTHONPATH": str(headrace.__path__[0]).removesuffix("/headrace")}


@pytest.mark.parametrize("statement", ["import headrace", "from headrace import Node"])
def test_importing_the_sdk_loads_no_http_no_pydantic_and_no_tls(statement: str) -> None:
    heavy = {
        "pydantic",
        "urllib3",
        "ssl",
        "http.client",
        "asyncio",
        "logging",
        "dataclasses",
        "orjson",
        "json",
        "csv",
    }
    assert not heavy & loaded_after(statement)


def test_every_public_name_can_be_imported() -> None:
    import headrace

    for name in headrace.__all__:
        assert getattr(headrace, name).__name__ in (name, "Fatal")
    with pytest.raises(AttributeError):
        _ = headrace.nothing_of_the_kind  # pyright: ignore[reportAttributeAccessIssue]
