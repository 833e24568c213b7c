"""Secrets and control characters stay inside the process."""

from __future__ import annotations

from headrace.redact import LIMIT, Redactor


def test_values_of_secret_looking_variables_are_taken_out() -> None:
    redact = Redactor(
        ["the-token"], {"SHOP_PASSWORD": "hunter2!", "AWS_SECRET_ACCESS_KEY": "abcdef", "HOME": "/home"}
    )
    assert redact("the-token hunter2! abcdef /home") == "*** *** *** /home"


def test_a_secret_too_short_to_be_one_is_left() -> None:
    assert Redactor(environ={"API_KEY": "no"})("no secret") == "no secret"


def test_the_longer_of_two_secrets_is_taken_out_first() -> None:
    assert Redactor(["secret-1", "secret-1-and-more"], {})("secret-1-and-more") == "***"


def test_a_message_is_cut_and_printable() -> None:
    text = Redactor(environ={})("a\x1b[31m\x00\ud800" + "x" * 5000)
    assert text.startswith("a\\x1b[31m\\x00\\xd800xxx")
    assert len(text) == LIMIT
