"""How fast the API server is asked, and how long is waited after a no."""

from __future__ import annotations

from workers.executors.rate import ASKED_MOST, Backoff, TokenBucket


def test_a_burst_passes_at_once_and_the_rest_at_the_rate():
    now = [0.0]
    bucket = TokenBucket(rate=10, burst=2, clock=lambda: now[0])
    assert [round(bucket.delay(), 3) for _ in range(4)] == [0, 0, 0.1, 0.2]
    now[0] = 1.0
    assert bucket.delay() == 0


def test_waits_double_up_to_the_longest_and_begin_again_after_a_success():
    backoff = Backoff(first=1, longest=4, jitter=lambda: 1.0)
    assert [backoff.next() for _ in range(4)] == [1, 2, 4, 4]
    backoff.reset()
    assert backoff.next() == 1


def test_no_wait_is_shorter_than_the_server_asks_for():
    assert Backoff(first=1, jitter=lambda: 0.0).next(at_least=7) == 7


def test_a_wait_that_a_server_asks_for_by_mistake_holds_nothing_up_for_long():
    assert Backoff(first=1, jitter=lambda: 0.0).next(at_least=86_400) == ASKED_MOST
