"""CloudEvents 1.0 in the three content modes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.core.cloudevents import BATCH, MAX_BATCH, STRUCTURED, header_attributes, read_events
from app.errors import InputError, InvalidInput, MalformedInput, UnsupportedMedia

EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "/shop",
    "type": "com.example.price.drop",
    "data": {"percent": 12},
}
HEADERS = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "com.example.price.drop"}


def structured(**more: Any) -> dict[str, Any]:
    body = {name: value for name, value in {**EVENT, **more}.items() if value is not ...}
    (event,) = read_events(f"{STRUCTURED}; charset=utf-8", {}, orjson.dumps(body))
    return event


def binary(body: bytes, content_type: str | None = "application/json", **headers: str) -> dict[str, Any]:
    (event,) = read_events(content_type, header_attributes(HEADERS | headers), body)
    return event


def test_a_structured_event_is_what_it_says():
    assert structured() == EVENT


def test_a_batch_is_a_list_of_events():
    assert read_events(BATCH, {}, orjson.dumps([EVENT, {**EVENT, "id": "2"}])) == [
        EVENT,
        {**EVENT, "id": "2"},
    ]
    assert read_events(BATCH, {}, b"[]") == []


def test_a_binary_event_has_its_attributes_in_headers_and_its_data_in_the_body():
    assert binary(b'{"percent": 12}') == {**EVENT, "datacontenttype": "application/json"}


def test_headers_are_percent_encoded():
    assert binary(b"", **{"ce-subject": "caf%C3%A9%20%22x%22"})["subject"] == 'café "x"'


@pytest.mark.parametrize(
    ("content_type", "body", "member", "value"),
    [
        ("application/vnd.x+json", b"[1]", "data", [1]),
        ("text/plain; charset=utf-8", b"caf\xc3\xa9", "data", "café"),
        ("image/png", b"\x89PNG", "data_base64", "iVBORw=="),
        (None, b"{}", "data", {}),
    ],
)
def test_data_is_read_as_its_content_type_says(
    content_type: str | None, body: bytes, member: str, value: Any
):
    assert binary(body, content_type)[member] == value


def test_extensions_are_members_like_the_attributes():
    event = structured(priority=2, urgent=True, traceparent="00-ab", subject=None)
    assert (event["priority"], event["urgent"], event["traceparent"]) == (2, True, "00-ab")
    assert "subject" not in event


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"id": ...}, "/id"),
        ({"source": ""}, "/source"),
        ({"type": 7}, "/type"),
        ({"specversion": "0.3"}, "/specversion"),
        ({"time": "yesterday"}, "/time"),
        ({"Upper": "x"}, "/Upper"),
        ({"nested": {"a": 1}}, "/nested"),
        ({"subject": "x" * 2000}, "/subject"),
        ({"data_base64": "eA=="}, "/data_base64"),
        ({"data": ..., "data_base64": "?"}, "/data_base64"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(change: dict[str, Any], place: str):
    with pytest.raises(InvalidInput) as caught:
        structured(**change)
    assert [each.pointer for each in caught.value.places] == [place]


def test_the_place_in_a_batch_has_its_index():
    with pytest.raises(InvalidInput) as caught:
        read_events(BATCH, {}, orjson.dumps([EVENT, {**EVENT, "id": ""}]))
    assert [each.pointer for each in caught.value.places] == ["/1/id"]


@pytest.mark.parametrize(
    ("content_type", "headers", "body", "error"),
    [
        ("application/json", {}, b"{}", InvalidInput),
        (STRUCTURED, {}, b"{", MalformedInput),
        (STRUCTURED, {}, b"[]", InvalidInput),
        (BATCH, {}, b"{}", InvalidInput),
        (BATCH, {}, orjson.dumps([EVENT] * (MAX_BATCH + 1)), InvalidInput),
        ("application/cloudevents+avro", {}, b"", UnsupportedMedia),
        ("application/json", HEADERS, b"{", MalformedInput),
        ("text/plain", HEADERS, b"\xff", MalformedInput),
        ("application/json", {**HEADERS, "ce-subject": "%ff"}, b"{}", InvalidInput),
        ("application/json", {**HEADERS, "ce-id": "%00"}, b"{}", InvalidInput),
    ],
)
def test_what_is_no_event_is_refused(
    content_type: str, headers: dict[str, str], body: bytes, error: type[InputError]
):
    with pytest.raises(error):
        read_events(content_type, header_attributes(headers), body)
