"""Services as nodes, the pure part: what an answer means, when to ask again, and how the engine ends a call."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.services import (
    Accepted,
    Failed,
    Finished,
    UrlTemplate,
    Waiting,
    host_of,
    idempotency_key,
    judge,
    poll_after,
    retry_after,
    same_origin,
)
from app.core.signals import Signal, SignalKind, encode
from app.core.tasks import Task
from app.errors import ExpressionError

NOW = 1_700_000_000_000
CALL: dict[str, Any] = {"service": {"url": "https://search.example/feeds"}}


def said(status: int, body: bytes = b"", **headers: str) -> Any:
    return judge(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, NOW)


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 201])
    def test_json_is_the_metadata(self, status: int):
        assert said(status, b' {"n": 1} ') == Finished(b'{"n":1}')

    @pytest.mark.parametrize(("status", "body"), [(204, b""), (200, b""), (201, b" \n")])
    def test_nothing_is_null(self, status: int, body: bytes):
        assert said(status, body) == Finished(b"null")

    @pytest.mark.parametrize(
        "body", [b"done", b'{"n": NaN}', b"\xff", b'{"a": "\\u0000"}', b"[" * 200 + b"]" * 200]
    )
    def test_what_is_not_json_or_cannot_be_kept_is_a_final_failure(self, body: bytes):
        answer = said(200, body)
        assert isinstance(answer, Failed)
        assert (answer.type, answer.retryable, answer.host_fault) == ("bad_answer", False, False)

    def test_a_202_says_where_and_when_to_ask(self):
        assert said(202, location="/jobs/7", retry_after="3") == Accepted("/jobs/7", 3_000)
        assert said(202) == Accepted(None, None)

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    def test_what_may_pass_is_retried(self, status: int):
        assert said(status).retryable

    @pytest.mark.parametrize("status", [302, 400, 401, 404, 409, 410, 422])
    def test_what_will_not_pass_is_final(self, status: int):
        assert not said(status).retryable

    def test_only_a_servers_error_speaks_against_the_host(self):
        assert [said(status).host_fault for status in (500, 503, 404, 429)] == [True, True, False, False]

    def test_retry_after_counts_for_429_and_503_and_is_bounded(self):
        assert said(503, retry_after="7").delay == 7_000
        assert said(500, retry_after="7").delay == 0
        assert said(429, retry_after="999999").delay == 3_600_000

    def test_a_refusal_is_quoted_in_one_short_line(self):
        assert said(400, b'{"title": "No", "detail": "not\\n\\u001b[31m this"}').message == (
            "the service answered 400: No: not \\x1b[31m this"
        )
        assert len(said(400, b"x" * 10_000).message) < 400


class TestTimes:
    def test_a_date_is_as_good_as_seconds(self):
        assert retry_after("Tue, 14 Nov 2023 22:13:30 GMT", NOW) == 10_000
        assert retry_after("Tue, 14 Nov 2023 22:13:10 GMT", NOW) == 0

    @pytest.mark.parametrize("value", [None, "", "soon", "-1", "1e3", "99999999999999"])
    def test_what_is_no_time_is_none(self, value: str | None):
        assert retry_after(value, NOW) is None

    def test_polls_come_less_often_the_longer_it_takes(self):
        assert [poll_after(waited, None, 0.0) for waited in (0, 60_000, 10**9)] == [1_000, 6_000, 30_000]

    def test_the_services_own_time_wins_within_bounds(self):
        assert [poll_after(0, asked, 0.0) for asked in (0, 20_000, 10**9)] == [1_000, 20_000, 300_000]


class TestAddresses:
    def test_values_stay_one_part_of_the_url(self):
        url = UrlTemplate("https://x.example/a/${{ params.a }}?q=${{ params.b }}")
        env = {"params": {"a": "../b?c#d", "b": "1&2=3"}}
        assert url.render(env) == "https://x.example/a/..%2Fb%3Fc%23d?q=1%262%3D3"

    @pytest.mark.parametrize("value", [".", ".."])
    def test_a_value_cannot_climb(self, value: str):
        with pytest.raises(ExpressionError, match="part of the path"):
            UrlTemplate("https://x.example/a/${{ params.a }}/b").render({"params": {"a": value}})

    def test_a_url_that_grows_without_end_is_given_up_early(self):
        url = UrlTemplate("https://x.example/" + "${{ params.a }}" * 100_000)
        with pytest.raises(ExpressionError, match="longer than"):
            url.render({"params": {"a": "%" * 1_000_000}})

    def test_a_host_has_its_port(self):
        assert host_of("https://Search.example/a") == "search.example:443"
        assert host_of("http://[::1]:80/") == "[::1]:80"

    def test_an_origin_is_scheme_host_and_port(self):
        assert same_origin("https://a.example/x", "https://a.example:443/y")
        assert not same_origin("https://a.example/", "http://a.example:443/")
        assert not same_origin("https://a.example/", "https://b.example/")

    def test_every_sending_of_one_attempt_has_the_same_key(self):
        assert (
            idempotency_key(Task("r1", "a:7", 2, 0)) == idempotency_key(Task("r1", "a:7", 2, 3)) == "r1/a:7/2"
        )

    def test_what_another_attempt_waited_for_is_not_ours(self):
        waiting = Waiting(2, NOW, "https://x.example/jobs/1")
        assert Waiting.parse(waiting.encode(), 2) == waiting
        assert Waiting.parse(waiting.encode(), 3) is None
        assert Waiting.parse(None, 1) is None
        assert Waiting.parse(b"[1]", 1) is None


class TestTheEngine:
    def test_silence_is_no_failure_while_a_service_works(self, world):
        run = world({"a": CALL | {"timeout": {"run": "1h", "heartbeat": "1s"}}})
        run.launch("a")
        run.now += 3_000_000
        run.fire("a")
        run.settle()
        assert run.status("a") == "running"
        assert run.timers["a"] - run.now == 600_000

    def test_its_run_timeout_ends_a_call_at_once_and_its_worker_hears_of_it(self, world):
        run = world({"a": CALL | {"timeout": {"run": "1h"}, "retry": {"max_attempts": 1}}})
        task = run.launch("a")
        run.now += 3_600_000
        run.fire("a")
        run.settle()
        assert (run.status("a"), run.error("a")["type"]) == ("failed", "run_timeout")
        assert run.calls == [task]
        run.check_ended()

    def test_a_deferred_call_waits_without_a_slot_and_is_the_same_attempt(self, world):
        run = world({"a": CALL})
        task = run.ready[0]
        run.admit(task)
        run.push(
            Signal(SignalKind.DEFER, "a", attempt=1, launch=0, delay=5_000, message="search.example:443")
        )
        run.settle()
        assert (run.status("a"), run.nodes["a"]["dw"]) == ("waiting", b"search.example:443")
        assert not run.holders
        run.now += 5_000
        run.fire("a")
        run.settle()
        assert run.ready == [task]

    def test_cancel_ends_a_call_at_once_and_its_worker_hears_of_it(self, world):
        run = world({"a": CALL, "b": {"type": "step", "needs": ["a"]}})
        task = run.launch("a")
        run.push(Signal(SignalKind.CANCEL))
        run.settle()
        assert run.statuses() == {"a": "cancelled", "b": "cancelled"}
        assert run.calls == [task]
        run.check_ended()

    def test_cancel_leaves_a_call_alone_whose_result_was_taken(self, world):
        run = world({"a": CALL})
        run.launch("a")
        run.output("a", {"n": 1})
        run.finalize("a")
        run.inbox.insert(0, encode(Signal(SignalKind.CANCEL)))
        run.settle()
        assert (run.status("a"), run.calls) == ("succeeded", [])

    def test_a_launch_that_is_deferred_while_its_run_is_cancelled_is_over(self, world):
        run = world({"a": CALL})
        run.admit(run.ready[0])
        run.push(Signal(SignalKind.CANCEL))
        run.push(Signal(SignalKind.DEFER, "a", attempt=1, launch=0, delay=5_000))
        run.settle()
        assert run.status("a") == "cancelled"
        run.check_ended()

    def test_a_late_deferral_changes_nothing(self, world):
        run = world({"a": CALL})
        run.launch("a")
        run.push(Signal(SignalKind.DEFER, "a", attempt=1, launch=0, delay=5_000))
        run.settle()
        assert run.status("a") == "running"

    def test_the_next_attempt_waits_as_long_as_the_service_asks(self, world):
        run = world({"a": CALL})
        run.launch("a")
        run.push(Signal(SignalKind.FAIL, "a", attempt=1, type="http_429", message="", delay=60_000))
        run.settle()
        assert run.timers["a"] == run.now + 60_000

    def test_a_url_is_rendered_once_for_all_attempts(self, world):
        node = {"service": {"url": "https://x.example/${{ params.id }}"}}
        run = world({"a": node}, {"id": "a b"})
        assert run.nodes["a"]["su"] == b"https://x.example/a%20b"

    def test_every_item_of_a_map_has_its_own_url(self, world):
        node = {"service": {"url": "https://x.example/${{ item }}"}, "map": {"over": [1, 2]}}
        run = world({"a": node})
        assert [run.nodes[f"a:{index}"]["su"] for index in (0, 1)] == [
            b"https://x.example/1",
            b"https://x.example/2",
        ]
