"""Signals keep what they say, in as few bytes as they can."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.signals import Signal, SignalKind, decode, encode
from app.errors import EngineFault, NewerSignal

numbers = st.integers(0, 2**31)
signals = st.builds(
    Signal, st.sampled_from(list(SignalKind)), ref=st.text(), attempt=numbers, launch=numbers, start=numbers,
    code=st.none() | st.integers(-64, 255), type=st.text(), message=st.text(), retryable=st.booleans(),
    infra=st.booleans(), output=st.none() | st.text(),
)  # fmt: skip


@given(signals)
def test_a_signal_is_read_back_as_it_was_written(signal: Signal):
    assert decode(encode(signal)) == signal


def test_fields_at_their_default_take_no_bytes():
    assert encode(Signal(SignalKind.DONE, "a", attempt=1)) == b'{"k":"done","n":"a","a":1}'


def test_a_signal_of_a_newer_release_is_left_to_it():
    with pytest.raises(NewerSignal, match="version 99"):
        decode(b'{"k":"fly","v":99,"wings":2}')


def test_a_kind_says_since_which_version_it_is_read():
    assert decode(b'{"k":"approval","v":2,"n":"a"}') == Signal(SignalKind.APPROVAL, "a")
    assert encode(Signal(SignalKind.APPROVAL, "a")) == b'{"k":"approval","v":2,"n":"a"}'


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"{}", b'{"k":"later"}', b'{"k":"due","zz":1}', b"7", b"null"]
)
def test_what_is_no_signal_is_an_engine_fault(raw: bytes):
    with pytest.raises(EngineFault):
        decode(raw)
