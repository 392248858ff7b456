from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MalformedAnswer
from gateway.providers import sse
from gateway.providers.sse import EventParser

TEXT = "りんごは👩‍👩‍👧何色？ か\u3099 \u2028 שלום"
STREAM = (
    b": keep-alive\n\n"
     b"data: " + msgspec.json.encode({"a": TEXT}) + b"\n\n"
    + b"event: x\r\nid: 7\r\ndata:" + msgspec.json.encode({"b": TEXT}) + b"\r\n\r\n"
    + b"data: one\ndata: two\n\n"
    + b"data: [DONE]\n\n"
)  # fmt: skip
EVENTS = [
    msgspec.json.encode({"a": TEXT}),
    msgspec.json.encode({"b": TEXT}),
    b"one\ntwo",
    b"[DONE]",
]


def parsed(*pieces: bytes) -> list[bytes]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)] + list(parser.end())


def test_a_stream_cut_at_any_byte_holds_the_same_events():
    for cut in range(len(STREAM) + 1):
        assert parsed(STREAM[:cut], STREAM[cut:]) == EVENTS, cut


def test_a_stream_that_arrives_byte_by_byte_holds_the_same_events():
    assert parsed(*(STREAM[i : i + 1] for i in range(len(STREAM)))) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_a_stream_cut_anywhere_often_holds_the_same_events(cuts):
    edges = [0, *sorted(cuts), len(STREAM)]
    assert parsed(*(STREAM[a:b] for a, b in pairwise(edges))) == EVENTS


def test_the_last_event_counts_without_its_empty_line():
    assert parsed(b"data: x\n\ndata: y") == [b"x", b"y"]


def test_an_event_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(sse, "LONGEST_EVENT", 100)
    with pytest.raises(MalformedAnswer):
        parsed(b"data: " + b"x" * 200)
