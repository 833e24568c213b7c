"""Documents from files and parameters from the command line."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from app.cli.documents import parse_params, read_document, read_object
from app.errors import MalformedInput, UsageError


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "document.yaml"
    path.write_text(text, "utf-8")
    return str(path)


def test_yaml_and_json_are_read_alike(tmp_path: Path):
    assert read_document(written(tmp_path, "name: a\nn: 1")) == {"name": "a", "n": 1}
    assert read_document(written(tmp_path, '{"name": "a", "n": 1}')) == {"name": "a", "n": 1}


def test_a_date_in_yaml_stays_text(tmp_path: Path):
    assert read_document(written(tmp_path, "until: 2026-01-05")) == {"until": "2026-01-05"}


def test_a_key_given_twice_is_an_error_with_its_line(tmp_path: Path):
    with pytest.raises(MalformedInput, match=r":2:1: the key 'a' is given twice"):
        read_document(written(tmp_path, "a: 1\na: 2"))


def test_a_yaml_error_names_its_line(tmp_path: Path):
    with pytest.raises(MalformedInput, match=r"document.yaml:2:"):
        read_document(written(tmp_path, "a: 1\nb: ["))


@pytest.mark.parametrize(
    "text", ["a: .nan", "a: !!python/object:os.system {}", "a: !!binary aGk=", "[" * 5000]
)
def test_what_json_cannot_hold_is_refused(tmp_path: Path, text: str):
    with pytest.raises(MalformedInput):
        read_document(written(tmp_path, text))


def test_a_file_that_is_not_there_is_a_usage_error():
    with pytest.raises(UsageError, match=r"cannot read nowhere\.yaml: No such file"):
        read_document("nowhere.yaml")


def test_stdin_is_read_for_a_dash(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("name: piped"))
    assert read_object("-") == {"name": "piped"}


@pytest.mark.parametrize(
    ("text", "said"), [("- 1", "it holds a list"), ("", "it is empty"), ("hello", "it holds a single value")]
)
def test_what_is_no_object_is_told_in_words(tmp_path: Path, text: str, said: str):
    with pytest.raises(MalformedInput, match=f"must hold an object: {said}"):
        read_object(written(tmp_path, text))


def test_a_parameter_that_is_json_keeps_its_type():
    pairs = ["n=5", "on=true", 'text="5"', "feed=file:a.ndjson", "eq=a=b", "empty=", "list=[1, 2]", "nan=NaN"]
    assert parse_params(pairs) == {
        "n": 5, "on": True, "text": "5", "feed": "file:a.ndjson", "eq": "a=b", "empty": "", "list": [1, 2],
        "nan": "NaN",
    }  # fmt: skip


def test_parameters_of_the_command_line_win_over_those_of_the_file(tmp_path: Path):
    assert parse_params(["a=2"], written(tmp_path, "a: 1\nb: 1")) == {"a": 2, "b": 1}


def test_a_parameter_without_a_value_is_a_usage_error():
    with pytest.raises(UsageError, match="'feed' is not name=value"):
        parse_params(["feed"])
