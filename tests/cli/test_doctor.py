"""What doctor says of settings and of Redis."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from app.cli.commands.doctor import judge, masked
from app.embedded import EmbeddedValkey

GOOD_INFO = {
    "redis_version": "7.2.4",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "maxmemory_policy": "noeviction",
}
GOOD_CONFIG = {"appendfsync": "always", "no-appendfsync-on-rewrite": "no"}


def failing(info: Mapping[str, object], config: Mapping[str, str]) -> list[str]:
    return [finding.check for finding in judge(dict(info), dict(config)) if not finding.ok]


def test_the_embedded_server_is_durable(headrace, monkeypatch: pytest.MonkeyPatch, valkey: EmbeddedValkey):
    monkeypatch.setenv("HEADRACE_REDIS_URL", valkey.url)
    ran = headrace("doctor", "-o", "json")
    found = json.loads(ran.out)
    assert ran.code == 0
    assert all(check["ok"] for check in found["redis"]["checks"])
    assert valkey.password not in ran.out


def test_every_setting_is_listed_with_its_source(headrace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEADRACE_LEASE", "7")
    settings = {
        s["name"]: s for s in json.loads(headrace("doctor", "--no-redis", "-o", "json").out)["settings"]
    }
    assert settings["HEADRACE_LEASE"] == {"name": "HEADRACE_LEASE", "value": 7.0, "source": "environment"}
    assert settings["HEADRACE_DRAIN"]["source"] == "default"
    assert settings["HEADRACE_API_KEY"]["value"] == "***"


def test_an_invalid_setting_is_shown_and_exits_3(headrace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEADRACE_PORT", "many")
    ran = headrace("doctor", "--no-redis")
    assert ran.code == 3
    assert "invalid" in ran.out


def test_a_password_in_a_url_is_masked():
    assert masked("redis://user:secret@h:1/0") == "redis://user:***@h:1/0"
    assert masked("redis://h:1/0") == "redis://h:1/0"


def test_a_durable_server_passes():
    assert failing(GOOD_INFO, GOOD_CONFIG) == []


@pytest.mark.parametrize(
    ("info", "config", "check"),
    [
        ({"aof_enabled": 0}, {}, "appendonly"),
        ({"aof_last_write_status": "err"}, {}, "last write of the AOF"),
        ({"maxmemory_policy": "allkeys-lru"}, {}, "maxmemory-policy"),
        ({"redis_version": "6.2.1"}, {}, "version"),
        ({}, {"appendfsync": "everysec"}, "appendfsync"),
        ({}, {"no-appendfsync-on-rewrite": "yes"}, "no-appendfsync-on-rewrite"),
    ],
)
def test_each_way_to_lose_data_is_named(info: Mapping[str, object], config: Mapping[str, str], check: str):
    assert failing({**GOOD_INFO, **info}, {**GOOD_CONFIG, **config}) == [check]


def test_a_server_that_hides_its_configuration_is_not_called_durable():
    assert failing(GOOD_INFO, {}) == ["appendfsync"]
