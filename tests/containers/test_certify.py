"""`headrace node certify` of images: their containers are killed, held and made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.main import main
from tests.cli.test_certify import SPEAKS
from tests.containers.engine import BUSYBOX, PYTHON, TestEngine


@pytest.fixture
def here(container_engine: TestEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, and an engine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_CONTAINER_ENGINE", container_engine.address)
    monkeypatch.setenv("HEADRACE_CONTAINER_TIMEOUT", "60")
    return tmp_path


def certified(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["node", "certify", *arguments, "-o", "json"])
    printed = capsys.readouterr()
    assert printed.out, printed.err
    return code, json.loads(printed.out)


def manifest(here: Path, image: str, *entrypoint: str) -> str:
    path = here / "inside.json"
    path.write_text(json.dumps({"name": "inside", "image": image, "entrypoint": list(entrypoint)}))
    return str(path)


def test_an_image_that_speaks_the_protocol_is_certified(here: Path, capsys):
    code, found = certified(
        capsys, manifest(here, PYTHON, "python3", "-c", SPEAKS, "nothing"), "--kills", "1"
    )
    assert [run["differences"] for run in found["runs"] if not run["same"]] == []
    assert (code, found["certified"], found["protocol"]) == (0, True, True)
    assert found["metadata"] == {"count": 6, "restarted": False}
    assert [run["processes"] for run in found["runs"][:8]] == [2, 2, 2, 2, 2, 2, 2, 1]
    assert found["runs"][8]["fence"] == {"refused": True, "exit_code": 3, "further": 0}


def test_an_image_without_the_protocol_adds_to_its_data_and_is_found_out(here: Path, capsys):
    script = "d=${HEADRACE_DATA_URI#file:}/$HEADRACE_RUN_ID; mkdir -p $d; echo x >> $d/own; sleep 2; "
    script += """printf '{"lines": %s}' $(grep -c x $d/own) > $HEADRACE_OUTPUT"""
    code, found = certified(
        capsys, manifest(here, BUSYBOX, "sh", "-c", script), "--kills", "1", "--seed", "3"
    )
    assert (code, found["reason"], found["protocol"]) == (1, "different", False)
    [run] = found["runs"]
    assert run["differences"] == [{"what": "metadata", "where": "/lines", "expected": 1, "found": 2}]


def test_an_image_that_has_no_manifest_runs_as_it_is(here: Path, capsys):
    code, found = certified(capsys, "--image", BUSYBOX, "--kills", "0")
    assert (found["node"], found["status"], found["metadata"]) == (BUSYBOX, "succeeded", None)
    assert (code, found["reason"], found["runs"]) == (1, "not_killed", [])


def test_an_image_that_is_not_there_is_wrong_usage_and_is_named(here: Path, capsys):
    assert main(["node", "certify", "--image", "localhost:1/team/none:1"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "localhost:1/team/none:1 cannot be run" in said
    assert "HEADRACE_CONTAINER_ENGINE" in said
