"""Node tokens: who may speak for one attempt of one node run."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.tokens import CALLBACK, NODE, TokenClaims, sign, verify
from app.errors import Unauthorized

SECRET = b"s" * 32
CLAIMS = TokenClaims("r1", "reprice:7", 2, "brand-aggregator", 3, expires_ms=1_000)
TOKEN = sign(SECRET, CLAIMS)


def test_a_genuine_token_gives_its_claims():
    assert verify(SECRET, TOKEN, 999) == CLAIMS


def test_a_token_ends_at_its_time():
    with pytest.raises(Unauthorized, match="expired"):
        verify(SECRET, TOKEN, 1_000)


def test_a_token_of_another_installation_is_refused():
    with pytest.raises(Unauthorized, match="genuine"):
        verify(b"t" * 32, TOKEN, 0)


@pytest.mark.parametrize(
    "changed", [{"run": "r2"}, {"ref": "reprice:8"}, {"attempt": 3}, {"expires_ms": 10**15}]
)
def test_claims_under_the_signature_of_others_are_refused(changed):
    forged = sign(SECRET, replace(CLAIMS, **changed)).partition(".")[0] + "." + TOKEN.partition(".")[2]
    with pytest.raises(Unauthorized, match="genuine"):
        verify(SECRET, forged, 0)


@given(st.integers(3, len(TOKEN) - 1), st.sampled_from("AZaz09-_."))
def test_one_changed_character_is_refused(position: int, other: str):
    forged = TOKEN[:position] + other + TOKEN[position + 1 :]
    if forged != TOKEN:
        with pytest.raises(Unauthorized):
            verify(SECRET, forged, 0)


@pytest.mark.parametrize(
    "token", ["", "hn_", "hn_.", "hr_x_y", TOKEN[3:], "hn_é.é", TOKEN + "=", TOKEN.replace(".", "")]
)
def test_what_is_no_token_is_refused(token: str):
    with pytest.raises(Unauthorized):
        verify(SECRET, token, 0)


def test_a_token_does_not_hold_the_secret():
    body = TOKEN.removeprefix("hn_").partition(".")[0]
    assert base64.urlsafe_b64decode(body + "==") == b"r1|reprice:7|2|brand-aggregator|3|1000"


def test_a_token_of_one_purpose_is_none_of_the_other():
    callback = sign(SECRET, CLAIMS, CALLBACK)
    assert verify(SECRET, callback, 0, CALLBACK) == CLAIMS
    for token, purpose in (
        (callback, NODE), (TOKEN, CALLBACK),
        (f"hn_{callback.removeprefix('hc_')}", NODE), (f"hc_{TOKEN.removeprefix('hn_')}", CALLBACK),
    ):  # fmt: skip
        with pytest.raises(Unauthorized):
            verify(SECRET, token, 0, purpose)
