from datetime import timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UnsupportedParameter
from gateway.providers import bind
from gateway.providers.stops import StopTrimmer
from gateway.providers.tgi_requests import CHAT, arguments
from tests.support.gateway_wire import ScriptedTransport, chat_reply, endpoint, reply

TIMES: dict[str, Any] = {
    "x_total_time": "40", "x_queue_time": "3", "x_inference_time": "35", "x_validation_time": "2",
    "x_time_per_token": "7", "x_compute_time": "0.04",
}  # fmt: skip


async def test_an_answer_brings_the_times_that_the_server_measured():
    answer = msgspec.json.decode(chat_reply("赤").body)
    body = answer | {"created": 1, "system_fingerprint": "3.3.7-native"}
    transport = ScriptedTransport(lambda _: reply(body=body, **TIMES))
    provider = bind(endpoint("tgi", hf_server_url="http://tgi"), transport)
    answered = await provider.chat({"messages": [{"role": "user", "content": "q"}]})
    assert answered.timings == {
        "total": timedelta(milliseconds=40),
        "queue": timedelta(milliseconds=3),
        "inference": timedelta(milliseconds=35),
        "validation": timedelta(milliseconds=2),
        "time_per_token": timedelta(milliseconds=7),
    }


@given(
    st.text("ab#色", max_size=30),
    st.lists(st.text("ab#色", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 30), max_size=6),
)
def test_text_that_does_not_end_by_a_stop_sequence_comes_through_whole(text, stops, cuts):
    trimmer = StopTrimmer(stops)
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    said = "".join(trimmer.feed(text[a:b]) for a, b in pairwise(bounds))
    assert said + trimmer.end(stopped=False) == text


@given(st.text("xy色", max_size=12), st.sampled_from(["###", "#色", "色"]), st.integers(1, 5))
def test_the_stop_sequence_that_ended_a_stream_is_never_said(text, stop, cut):
    trimmer = StopTrimmer(["###", "#色", "色"])
    whole = text + stop
    said = "".join(trimmer.feed(whole[i : i + cut]) for i in range(0, len(whole), cut))
    assert said + trimmer.end(stopped=True) == whole[: -len(stop)]


def test_two_limits_of_tokens_must_agree():
    both: dict[str, Any] = {"max_tokens": 5, "max_completion_tokens": 6}
    with pytest.raises(UnsupportedParameter):
        arguments(both, CHAT)
    assert arguments({**both, "max_completion_tokens": 5}, CHAT) == {"max_tokens": 5}


def test_text_is_the_format_that_asks_for_nothing():
    assert arguments({"response_format": {"type": "text"}}, CHAT) == {}
