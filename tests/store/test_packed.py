"""A finished run in one value."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import EngineFault
from app.store.packed import MOST_BYTES, pack, unpack, unpack_run

TEXT = st.text(st.characters(codec="utf-8"), max_size=50).map(str.encode)
FIELDS = st.dictionaries(st.sampled_from([b"s", b"w", b"p", b"m", b"z", b"A1.0"]), TEXT, min_size=1)
EVENTS = st.lists(
    st.tuples(st.sampled_from([b"1-0", b"2-7"]), st.just(b'{"type":"run","at":null}')), max_size=5
)


@given(FIELDS, st.dictionaries(st.sampled_from(["a", "b:7"]), FIELDS), EVENTS)
def test_what_goes_in_comes_out(run, nodes, events):
    value = pack(run, nodes, events)
    assert value is not None
    found = unpack(value)
    assert (found.run, found.nodes, found.events) == (run, nodes, events)
    assert unpack_run(value) == run


def test_what_only_a_live_run_needs_is_left_out():
    node = {b"s": b"succeeded", b"i": b"pod", b"h": b"1", b"kc": b"1:ab", b"d": b"{}", b"m": b"7"}
    value = pack({b"s": b"succeeded", b"ac": b"1"}, {"a": node}, [])
    assert value is not None
    found = unpack(value)
    assert found.run == {b"s": b"succeeded"}
    assert found.nodes == {"a": {b"s": b"succeeded", b"m": b"7"}}


def test_the_position_of_a_failed_node_run_is_kept_for_a_retry():
    value = pack({b"s": b"failed"}, {"a": {b"s": b"failed", b"q": b"7", b"d": b"{}"}}, [])
    assert value is not None
    assert unpack(value).nodes["a"][b"d"] == b"{}"


def test_a_run_that_is_too_large_or_no_text_is_not_packed():
    assert pack({b"o": b"x" * MOST_BYTES}, {}, []) is None
    assert pack({b"o": b"\xff"}, {}, []) is None


def test_a_damaged_value_or_one_of_a_later_release_is_told():
    value = pack({b"s": b"failed"}, {}, [])
    assert value is not None
    for bad in (b"", b"\x7f" + value[1:], value[:1] + b"\xff\xff" + value[3:]):
        with pytest.raises(EngineFault, match="packed run"):
            unpack(bad)


def test_a_run_of_five_nodes_takes_a_tenth_of_its_json():
    at = "2026-11-24T08:02:2{}.0{}Z"
    events = [(b"17955073%d2001-%d" % (i, i % 4), orjson.dumps({"type": "node", "node": "abcde"[i % 5], "from": "ready",
               "to": "starting", "attempt": 1, "at": at.format(i % 10, i)})) for i in range(10, 52)]  # fmt: skip
    nodes = {name: {b"s": b"succeeded", b"a": b"1", b"y": b"179550734%d" % i, b"m": b'{"count":%d}' % i}
             for i, name in enumerate("abcde")}  # fmt: skip
    value = pack({b"s": b"succeeded", b"w": b"brand-aggregator"}, nodes, events)
    assert value is not None
    assert len(value) < 520
