"""Cron expressions in their canonical form, as Kubernetes' CronJob controller reads them."""

from __future__ import annotations

import pytest

from app.core.cron import parse_cron


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0 2 * * *", "0 2 * * *"),
        ("*/15 * * * *", "0,15,30,45 * * * *"),
        ("50/5 1-4/2 * * *", "50,55 1,3 * * *"),
        ("0 0 ? jan,DEC Mon-Fri", "0 0 * 1,12 1,2,3,4,5"),
    ],
)
def test_every_field_is_spelled_out(text: str, canonical: str):
    assert parse_cron(text) == canonical


def test_sunday_is_zero_and_seven():
    assert parse_cron("0 0 * * 7") == parse_cron("0 0 * * 0") == parse_cron("0 0 * * SUN")
    assert parse_cron("0 0 * * 5-7") == "0 0 * * 0,5,6"


def test_only_a_bare_star_lets_the_other_day_field_alone_decide():
    assert parse_cron("0 0 */1 * 1") == "0 0 * * 1"
    assert parse_cron("0 0 1-31 * 1").split(" ")[2] != "*"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("60 * * * *", "the minute is 0 to 59"),
        ("* 24 * * *", "the hour is 0 to 23"),
        ("* * 0 * *", "the day of the month is 1 to 31"),
        ("* * * jun-feb *", "from a smaller to a larger"),
        ("* * * * 8", "the day of the week is 0 to 7"),
        ("*/0 * * * *", "at least 1"),
        ("* * L * *", "'L' does not say the day of the month"),
        ("* * * * 5#2", "a star, a number, a range or a step"),
        ("5,, * * * *", "the minute"),
        ("² * * * *", "the minute"),
    ],
)
def test_what_is_no_cron_expression_is_told(text: str, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        parse_cron(text)
