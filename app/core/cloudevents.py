"""CloudEvents 1.0, read from what HTTP, Kafka or a stream brings, in each of the three content modes.

An event is one plain object: its attributes and extensions as members, and `data` (or `data_base64`, for bytes that are
no text). Expressions read it as `event`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

from app.core.durations import parse_instant
from app.core.json_values import decode_json
from app.core.pointers import Problems, pointer
from app.errors import InvalidInput, MalformedInput, UnsupportedMedia

Event = dict[str, Any]

SPEC = "1.0"
REQUIRED = ("id", "source", "type")
MAX_BATCH = 1_000
MAX_ATTRIBUTE = 1_024
"""Characters of an attribute."""
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
PREFIX = "ce-"
"""Before the names of attributes in headers of HTTP."""

_NAME = re.compile(r"[a-z0-9]{1,64}")
_HELP = (
    f"Send a CloudEvent: as {STRUCTURED}, as {BATCH}, or any body with the headers ce-specversion, ce-id, "
    "ce-source and ce-type."
)


def read_events(content_type: str | None, attributes: Mapping[str, str], body: bytes) -> list[Event]:
    """The events of a message: one, or those of a batch. `attributes` are those beside the body, in binary mode.

    Raises MalformedInput, InvalidInput with the places, UnsupportedMedia.
    """
    media = (content_type or "").partition(";")[0].strip().lower()
    if media == BATCH:
        return _batch(decode_json(body))
    if media == STRUCTURED:
        return [_structured(decode_json(body), "")]
    if media.startswith("application/cloudevents"):
        raise UnsupportedMedia(f"CloudEvents are read as JSON only. {_HELP}")
    if "specversion" not in attributes:
        raise InvalidInput(f"This is no CloudEvent. {_HELP}")
    return [_binary(content_type, media, attributes, body)]


def header_attributes(headers: Mapping[str, str]) -> dict[str, str]:
    """The attributes in the headers of an HTTP request (lower-case names), where values are percent-encoded UTF-8.

    Raises InvalidInput.
    """
    problems = Problems()
    attributes: dict[str, str] = {}
    for header, value in headers.items():
        if header.startswith(PREFIX):
            try:
                attributes[header[len(PREFIX) :]] = unquote(value, errors="strict")
            except UnicodeDecodeError:
                problems.add(pointer(header), "percent-encoded UTF-8 is expected")
    problems.raise_if_any("This is no valid CloudEvent.")
    return attributes


def _batch(value: Any) -> list[Event]:
    if not isinstance(value, list):
        raise InvalidInput("A batch of CloudEvents is an array.")
    entries = cast("list[Any]", value)
    if len(entries) > MAX_BATCH:
        raise InvalidInput(f"A batch has at most {MAX_BATCH:,} events, this one has {len(entries):,}.")
    return [_structured(entry, pointer(index)) for index, entry in enumerate(entries)]


def _structured(value: Any, at: str) -> Event:
    problems = Problems()
    if not isinstance(value, dict):
        problems.add(at, "an event is an object")
        problems.raise_if_any("This is no CloudEvent.")
    given = {name: item for name, item in cast("Event", value).items() if item is not None or name == "data"}
    if "data" in given and "data_base64" in given:
        problems.add(f"{at}/data_base64", "an event has data or data_base64, not both")
    if "data_base64" in given and not _is_base64(given["data_base64"]):
        problems.add(f"{at}/data_base64", "base64 is expected")
    attributes = {name: item for name, item in given.items() if name not in ("data", "data_base64")}
    _check(attributes, at, problems)
    problems.raise_if_any("This is no valid CloudEvent.")
    return given


def _binary(content_type: str | None, media: str, attributes: Mapping[str, str], body: bytes) -> Event:
    problems = Problems()
    event: Event = dict(attributes)
    _check(event, "", problems)
    problems.raise_if_any("This is no valid CloudEvent.")
    if content_type:
        event["datacontenttype"] = content_type
    if body:
        _data(event, media, body)
    return event


def _data(event: Event, media: str, body: bytes) -> None:
    """JSON as its value, text as text, anything else as base64. Raises MalformedInput for JSON that is none."""
    if media in ("", "application/json", "text/json") or media.endswith("+json"):
        event["data"] = decode_json(body)
        return
    try:
        if media.startswith("text/") or media.endswith(("/xml", "+xml")):
            event["data"] = body.decode("utf-8")
            return
    except UnicodeDecodeError:
        raise MalformedInput("The body is not valid UTF-8.") from None
    event["data_base64"] = base64.b64encode(body).decode()


def _check(event: Event, at: str, problems: Problems) -> None:
    version = event.get("specversion")
    if version != SPEC:
        problems.add(f"{at}/specversion", f"the version {SPEC} of CloudEvents is expected")
    for name in REQUIRED:
        value = event.get(name)
        if not isinstance(value, str) or not value:
            problems.add(f"{at}/{name}", "a text is required")
    for name, value in event.items():
        _check_attribute(name, value, at, problems)


def _check_attribute(name: str, value: Any, at: str, problems: Problems) -> None:
    place = f"{at}{pointer(name[:100])}"
    if not _NAME.fullmatch(name):
        problems.add(place, "the name of an attribute has lower-case letters and digits only")
    elif not isinstance(value, str | bool | int):
        problems.add(place, "an attribute is a text, a whole number, true or false")
    elif isinstance(value, str) and (len(value) > MAX_ATTRIBUTE or "\0" in value):
        problems.add(place, f"an attribute has at most {MAX_ATTRIBUTE:,} characters, and no NUL")
    elif name == "time":
        try:
            parse_instant(value)
        except ValueError as error:
            problems.add(place, str(error))


def _is_base64(value: Any) -> bool:
    try:
        base64.b64decode(value, validate=True)
    except (ValueError, TypeError):
        return False
    return True
