"""What an engine says, and what it means for a launch."""

from __future__ import annotations

import io
import tarfile

import pytest

from app.core.tasks import Task
from app.errors import UsageError
from app.settings import Settings
from workers.executors.container.engine import Engine, EngineError, first_file, split_image
from workers.executors.container.keeper import place_of
from workers.executors.container.logcopy import Demultiplexer
from workers.executors.container.reasons import created_ms, ended, with_output
from workers.executors.launchfiles import OUTPUT_LIMIT

TASK = Task("r0123", "resize", 1, 0)


def container(status: str, **state: object) -> dict[str, object]:
    return {"State": {"Status": status, "ExitCode": 0, **state}}


def test_a_container_that_runs_has_not_ended():
    assert ended(TASK, container("running")) is None


@pytest.mark.parametrize(
    ("found", "type", "code", "infra"),
    [
        (container("exited", ExitCode=0), "", 0, False),
        (container("exited", ExitCode=42), "", 42, False),
        (container("exited", ExitCode=137), "", -9, False),
        (container("exited", ExitCode=137, OOMKilled=True), "OOMKilled", -9, False),
        (container("dead", ExitCode=1), "lost", 1, True),
        (container("created"), "lost", None, True),
    ],
)
def test_an_end_says_whose_fault_it_is(found, type, code, infra):
    told = ended(TASK, found)
    assert told is not None
    assert (told.type, told.code, told.infra) == (type, code, infra)


def test_output_is_json_of_at_most_the_limit():
    assert with_output(TASK, None).output is None
    assert with_output(TASK, b' {"a": 1}\n').output == '{"a":1}'
    assert with_output(TASK, b"a").type == "bad_output"
    assert with_output(TASK, b" " * (OUTPUT_LIMIT + 1)).type == "bad_output"


def test_the_frames_of_a_log_are_taken_apart_wherever_the_stream_was_cut():
    frames = b"".join(
        bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text
        for stream, text in [(1, b"hello\n"), (2, b""), (2, b"oops\n"), (1, b"x" * 300)]
    )
    for size in (1, 3, 7, 11, 1000):
        cut = Demultiplexer()
        pieces = [frames[start : start + size] for start in range(0, len(frames), size)]
        assert b"".join(cut.feed(piece) for piece in pieces) == b"hello\noops\n" + b"x" * 300


def test_a_file_is_found_in_an_archive_that_was_cut_off():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("metadata.json")
        info.size = 5000
        tar.addfile(info, io.BytesIO(b"y" * 5000))
    assert first_file(packed.getvalue()[:2000], 100) == b"y" * 100


def test_a_link_is_no_output():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("metadata.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/shadow"
        tar.addfile(info)
    assert first_file(packed.getvalue(), 100) is None


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("busybox", ("busybox", "latest")),
        ("images.example:5000/team/a", ("images.example:5000/team/a", "latest")),
        ("images.example:5000/team/a:2", ("images.example:5000/team/a", "2")),
        ("team/a@sha256:00", ("team/a", "sha256:00")),
    ],
)
def test_a_reference_is_a_name_and_a_tag_or_digest(image, parts):
    assert split_image(image) == parts


def test_a_name_that_is_taken_is_told_by_docker_and_by_podman_in_its_own_way():
    assert EngineError(409, "Conflict. The container name is already in use").taken
    assert EngineError(500, "creating container storage: the container name is already in use").taken
    assert not EngineError(500, "no space left").taken


def test_an_address_that_is_none_is_refused():
    with pytest.raises(UsageError, match="HEADRACE_CONTAINER_ENGINE"):
        Engine(Settings(container_engine="/run/docker.sock"))


def test_workers_of_one_engine_record_their_launches_in_one_place():
    remote = Settings(container_engine="tcp://engine.example:2375")
    assert place_of(remote) == "container:engine.example:2375"
    assert place_of(Settings()).startswith("container:")


def test_the_time_of_its_making_is_read_with_its_nanoseconds():
    assert created_ms({"Created": "2026-11-24T12:44:54.41641254Z"}) == 1795524294000
    assert created_ms({}) is None
