"""A stream that is led past a file of a log shows it by the times of its lines."""

from __future__ import annotations

from datetime import UTC, datetime

from workers.executors.kubernetes.pace import FILE, Pace


def moment(seconds: float) -> bytes:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%f}000Z".encode()


def told(steps: list[tuple[float, float]], size: int = FILE) -> list[bool]:
    """(time of the last line, clock when it came) of each piece -> whether lines may be missing before it."""
    pace = Pace()
    return [pace.skipped(moment(at), size, now) for at, now in steps]


def test_who_is_behind_and_jumps_may_have_missed_lines():
    assert told([(0, 0), (1, 5), (2, 12), (20, 22)]) == [False, False, False, True]


def test_a_program_that_pauses_is_no_gap_where_the_stream_keeps_up():
    assert told([(0, 0), (20, 20), (40, 40), (100, 100)]) == [False] * 4


def test_who_keeps_up_with_a_program_that_fills_a_file_in_seconds_may_miss_the_next_one():
    assert told([(0, 0), (1, 1), (2, 2), (12, 12)]) == [False, False, False, True]


def test_how_fast_a_program_writes_is_told_by_what_it_wrote_last():
    """Ten files slowly, then a pause; and in pieces of any size."""
    slowly = [(second * 4, second * 4) for second in range(160)]
    assert told([*slowly, (900, 900)], size=FILE // 16) == [False] * 161
    quickly = [(700 + part / 16, 700 + part / 16) for part in range(20)]
    assert told([*slowly, *quickly, (720, 720)], size=FILE // 16)[-1]


def test_clocks_may_differ():
    assert told([(0, 900), (20, 920), (40, 940), (100, 1000)]) == [False] * 4


def test_what_is_read_of_one_file_has_no_gap_however_late():
    assert told([(0, 1000), (60, 1000), (120, 1000)], size=1000) == [False] * 3
