"""Reading server-sent events."""

from __future__ import annotations

from app.cli.events import Event, parse


def test_an_event_ends_with_an_empty_line_and_keeps_its_id():
    lines = ["id: 1-0", "event: node", 'data: {"a":1}', "", "data: next", ""]
    assert list(parse(lines)) == [Event("1-0", "node", '{"a":1}'), Event("1-0", "message", "next")]


def test_comments_and_unfinished_events_are_dropped():
    assert list(parse([": ping", "", "data: cut off"])) == []


def test_lines_of_data_are_joined_and_one_space_is_removed():
    assert list(parse(["data:a", "data:  b", ""])) == [Event("", "message", "a\n b")]


def test_an_id_with_nul_is_ignored():
    assert list(parse(["id: 1\0", "data: x", ""])) == [Event("", "message", "x")]
