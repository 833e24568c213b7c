"""What comes in over a watch, in the two forms that the API server speaks (DESIGN 8, fault row 26)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import example, given
from hypothesis import strategies as st

from workers.executors.kubernetes.client import JSON
from workers.executors.kubernetes.protobuf import MAGIC, MEDIA_TYPE, MESSAGES, unwrapped
from workers.executors.kubernetes.watch import HEAD, LONGEST_FRAME, Relist, event, events

EXPIRED = {"code": 410, "reason": "Expired", "message": "too old resource version"}


def pod(moment: object) -> dict[str, Any]:
    """A pod that has ended, at such a moment: the forms write moments differently."""
    terminated = {"exitCode": 137, "reason": "OOMKilled", "message": "größer", "finishedAt": moment}
    return {
        "metadata": {
            "name": "hr-price-1", "uid": "u1", "resourceVersion": "7", "creationTimestamp": moment,
            "annotations": {"headrace.dev/task": "r1|price|1|0"},
            "ownerReferences": [{"kind": "Job", "name": "hr-price", "uid": "j1"}],
        },
        "spec": {"nodeName": "node1"},
        "status": {
            "phase": "Failed",
            "conditions": [{"type": "DisruptionTarget", "status": "True", "lastTransitionTime": moment}],
            "containerStatuses": [{"name": "node", "state": {"terminated": terminated}}],
        },
    }  # fmt: skip


IN_JSON = {"kind": "Pod", **pod("2026-01-01T00:00:00Z")}
IN_BINARY = pod({"seconds": 1767225600})


def enveloped(kind: str, told: dict[str, Any]) -> bytes:
    inner = ParseDict(told, MESSAGES[kind]()).SerializeToString()
    return MAGIC + MESSAGES["Unknown"](typeMeta={"kind": kind}, raw=inner).SerializeToString()


def frame(change: str, thing: bytes) -> bytes:
    told = MESSAGES["WatchEvent"](type=change, object={"raw": thing}).SerializeToString()
    return len(told).to_bytes(HEAD) + told


async def told_by(form: str, *chunks: bytes) -> list[tuple[str, dict[str, Any]]]:
    """What is understood of an answer that comes in these chunks."""
    content = asyncio.StreamReader()

    async def iter_any() -> AsyncGenerator[bytes]:
        for chunk in chunks:
            yield chunk

    content.feed_data(b"".join(chunks))
    content.feed_eof()
    reading = SimpleNamespace(readline=content.readline, iter_any=iter_any)
    answer: Any = SimpleNamespace(content_type=form, content=reading)
    return [each async for each in events(answer)]


async def test_an_event_reads_the_same_in_both_forms():
    lines = orjson.dumps({"type": "MODIFIED", "object": IN_JSON}) + b"\n"
    assert await told_by(JSON, lines) == [("MODIFIED", IN_JSON)]
    assert await told_by(MEDIA_TYPE, frame("MODIFIED", enveloped("Pod", IN_BINARY))) == [
        ("MODIFIED", IN_JSON)
    ]


def test_an_exit_with_0_is_told_though_zero_need_not_be_sent():
    ended = {
        "status": {"containerStatuses": [{"name": "node", "state": {"terminated": {"reason": "Completed"}}}]}
    }
    (container,) = unwrapped(enveloped("Pod", ended))["status"]["containerStatuses"]
    assert container["state"]["terminated"]["exitCode"] == 0


def test_a_state_without_a_word_is_a_state():
    running = {"status": {"containerStatuses": [{"name": "node", "state": {"running": {}}}]}}
    (container,) = unwrapped(enveloped("Pod", running))["status"]["containerStatuses"]
    assert container["state"] == {"running": {}}


def test_bytes_that_are_no_text_are_replaced_as_in_json():
    """What a program leaves as its last message is whatever it wrote."""
    message = b"\x1a\x04a\xff\xfeb"
    raw = MAGIC + MESSAGES["Unknown"](typeMeta={"kind": "Status"}, raw=message).SerializeToString()
    assert unwrapped(raw) == {"kind": "Status", "message": "a\ufffd\ufffdb"}


@given(st.lists(st.integers(0, 700), max_size=6))
@example([1, 2, 3, 4, 5])
def test_frames_may_come_in_any_pieces(cuts: list[int]):
    whole = b"".join(frame(change, enveloped("Pod", IN_BINARY)) for change in ("ADDED", "MODIFIED"))
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    pieces = [whole[a:b] for a, b in pairwise(edges)]
    told = asyncio.run(told_by(MEDIA_TYPE, *pieces))
    assert told == [("ADDED", IN_JSON), ("MODIFIED", IN_JSON)]


@pytest.mark.parametrize(
    "answer",
    [
        frame("ADDED", enveloped("Pod", IN_BINARY))[:-1],
        b"\x00\x00",
        (LONGEST_FRAME + 1).to_bytes(HEAD) + b"x",
        b"\x00\x00\x00\x03abc",
        frame("ADDED", b"no envelope"),
        frame("ADDED", MAGIC + b"\xff\xff"),
        frame("ADDED", MAGIC + MESSAGES["Unknown"](typeMeta={"kind": "Secret"}).SerializeToString()),
        frame("RENAMED", enveloped("Pod", IN_BINARY)),
        frame("ERROR", enveloped("Status", EXPIRED)),
    ],
    ids=["half", "half a length", "too long", "no event", "no envelope", "no object", "other kind", "other change",
         "too old"],
)  # fmt: skip
async def test_what_is_no_event_in_binary_is_listed_anew(answer: bytes):
    with pytest.raises(Relist):
        await told_by(MEDIA_TYPE, answer)


@pytest.mark.parametrize(
    "line", [b"half {", b'"text"', b'{"type":"ERROR","object":{"code":410,"reason":"Expired"}}']
)
def test_what_is_no_event_in_json_is_listed_anew(line: bytes):
    with pytest.raises(Relist):
        event(line, orjson.loads)


@given(st.binary(max_size=200))
def test_no_bytes_are_worse_than_no_object(noise: bytes):
    for raw in (noise, MAGIC + noise):
        try:
            unwrapped(raw)
        except ValueError:
            continue
