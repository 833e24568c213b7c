"""Times, durations, and text from elsewhere."""

from __future__ import annotations

import pytest

from app.cli.moments import duration, elapsed, moment
from app.cli.output import plain


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.004, "0.00 s"), (0.84, "0.84 s"), (12.34, "12.3 s"), (59.97, "1m 00s"), (184, "3m 04s"),
     (7400, "2h 03m"), (90_000, "1d 01h"), (-3, "0.00 s"), (None, "")],
)  # fmt: skip
def test_a_duration_has_the_precision_that_people_want(seconds: float | None, text: str):
    assert duration(seconds) == text


def test_a_moment_is_read_from_rfc_3339_and_from_milliseconds():
    assert moment("2026-01-05T10:00:00.500Z") == moment("2026-01-05T11:00:00.500+01:00") == 1767607200.5
    assert moment(1767607200500) == 1767607200.5
    assert moment("soon") is moment(None) is moment(True) is None


def test_what_has_not_ended_goes_on_until_now():
    assert elapsed("2026-01-05T10:00:00Z", None, now=1767607203.0) == 3.0
    assert elapsed(None, None, now=5.0) is None


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [("\x1b[31mred", "\\x1b[31mred"), ("a\r\nb", "a\\x0d\\x0ab"), ("a\u202eb", "a\\u202eb"),
     ("\x00", "\\x00"), ("<script>é", "<script>é")],
)  # fmt: skip
def test_control_characters_become_visible(hostile: str, shown: str):
    assert plain(hostile) == shown


def test_logs_keep_their_lines():
    assert plain("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"
