"""Where the operator's secrets may be sent, and what is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.secrets import SecretRules, check_secrets
from app.core.spec import parse_workflow
from app.errors import InvalidInput, NotFound, UsageError
from app.secretfiles import SecretFiles
from app.settings import Settings

RULES = SecretRules.parse(
    {
        "key": {
            "hosts": [
                "search.example",
                "a.example:8443",
                "http://10.0.0.7:9000",
                "*.shop.example",
                "[2001:db8::1]:444",
            ]
        }
    }
)


@pytest.mark.parametrize(
    "url",
    [
        "https://search.example/feeds", "https://SEARCH.example:444/", "https://a.example:8443/", "http://10.0.0.7:9000/x",
        "https://eu.shop.example/", "https://[2001:db8::1]:444/", "https://search.example./",
    ],
)  # fmt: skip
def test_a_secret_goes_where_it_is_allowed(url: str):
    assert RULES.refusal("key", url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://search.example/", "https://search.example.evil.example/", "https://a.example/", "https://10.0.0.7:9000/",
        "http://10.0.0.7/", "https://shop.example/", "https://evilshop.example/", "https://other.example/",
    ],
)  # fmt: skip
def test_a_secret_goes_nowhere_else_nor_in_the_clear(url: str):
    assert "may not be sent" in (RULES.refusal("key", url) or "")


def test_a_secret_that_nobody_knows_is_refused():
    assert "there is no secret 'kez'" in (RULES.refusal("kez", "https://search.example/") or "")


def test_a_document_is_refused_with_the_place_of_its_secret():
    nodes = {"a": {"service": {"url": "https://other.example/${{ params.x }}", "secret": "key"}}}
    with pytest.raises(InvalidInput) as refused:
        check_secrets(parse_workflow({"name": "w", "nodes": nodes}), RULES)
    assert [place.pointer for place in refused.value.places] == ["/nodes/a/service/secret"]


@pytest.mark.parametrize(
    "value", [[], {"key": {}}, {"key": {"hosts": []}}, {"key": {"hosts": ["a"], "x": 1}}]
)
def test_rules_that_make_no_sense_stop_the_start(value: object):
    with pytest.raises(UsageError, match="HEADRACE_SECRETS_ALLOW"):
        SecretRules.parse(value)


@pytest.fixture
def files(tmp_path: Path) -> SecretFiles:
    (tmp_path / "allow.yaml").write_text(
        "key: {hosts: [a.example]}\nshort: {hosts: [a.example]}\ngone: {hosts: [a.example]}\n"
    )
    (tmp_path / "key").write_text("correct horse\n")
    (tmp_path / "short").write_text("1234567")
    return SecretFiles(Settings(secrets_dir=str(tmp_path), secrets_allow=str(tmp_path / "allow.yaml")))


def test_a_secret_is_read_from_its_file_whenever_it_is_needed(files: SecretFiles, tmp_path: Path):
    assert files.read("key", "https://a.example/") == "correct horse"
    (tmp_path / "key").write_text("battery staple")
    assert files.read("key", "https://a.example/") == "battery staple"


@pytest.mark.parametrize("name", ["short", "gone"])
def test_a_secret_that_is_not_there_or_too_short_to_be_hidden_is_none(files: SecretFiles, name: str):
    with pytest.raises(NotFound, match=name):
        files.read(name, "https://a.example/")
