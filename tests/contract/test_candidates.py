"""Several answers at once and log probabilities, at Google AI and on Vertex AI, byte by byte."""

from typing import Any

import msgspec
import pytest

from gateway.errors import InvalidRequest, MalformedAnswer, UnsupportedParameter
from gateway.providers import Provider, bind
from gateway.types import Answer
from tests.support.gateway_wire import ScriptedTransport
from tests.support.vendors import gemini
from tests.support.vendors.canon import ASKS
from tests.support.vendors.contract import Kind, Vendor, as_reply
from tests.support.vendors.gemini import COUNTED, USAGE, frames

BOTH = [v for v in gemini.VENDORS if v.name in {"gemini", "vertex-gemini"}]
ASK: dict[str, Any] = dict(ASKS[Kind.CHAT]["plain"])
TOOLS = ASKS[Kind.CHAT]["tools"]["tools"]


def candidate(
    *parts: Any, index: int | None = None, finish: str | None = "STOP", **more: Any
) -> Any:
    found: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, **more}
    if finish is not None:
        found["finishReason"] = finish
    return found | ({"index": index} if index is not None else {})


def body(*candidates: Any, usage: object = COUNTED) -> dict[str, Any]:
    return {"candidates": list(candidates), "usageMetadata": usage, "modelVersion": "gemini-2026"}


def bound(
    vendor: Vendor, raw: object, kind: Kind = Kind.CHAT
) -> tuple[Provider, ScriptedTransport]:
    transport = ScriptedTransport(lambda _: as_reply(200, raw))
    return bind(vendor.endpoint(kind), transport), transport


async def chatted(vendor: Vendor, raw: object, **more: Any) -> tuple[Answer, dict[str, Any], Any]:
    provider, transport = bound(vendor, raw)
    answer = await provider.chat(ASK | more)
    sent = transport.bodies[0].get("generationConfig")
    return answer, msgspec.json.decode(answer.raw), sent


CALL = {"functionCall": {"name": "weather", "args": {"city": "東京"}}}
THREE = body(
    candidate({"text": "赤"}),  # An index of 0 may be left out.
    candidate({"text": "うーん", "thought": True}, {"text": "青"}, index=1, finish="MAX_TOKENS"),
    candidate(CALL, index=2),
)


@pytest.mark.parametrize("vendor", BOTH, ids=lambda v: v.name)
async def test_as_many_answers_are_asked_for_and_given_back_as_were_wanted(vendor):
    answer, raw, sent = await chatted(vendor, THREE, n=3)
    assert sent == {"candidateCount": 3}
    choices = raw["choices"]
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in choices] == [
        (0, "赤", "stop"), (1, "青", "length"), (2, None, "tool_calls"),
    ]  # fmt: skip
    assert choices[1]["message"]["reasoning_content"] == "うーん"
    assert choices[2]["message"]["tool_calls"][0]["function"]["name"] == "weather"
    assert (answer.text, answer.finish_reason, answer.usage) == ("赤", "stop", USAGE)
    _, raw, sent = await chatted(vendor, body(candidate({"text": "赤"})), n=1)
    assert (sent, len(raw["choices"])) == (None, 1)


@pytest.mark.parametrize("vendor", BOTH, ids=lambda v: v.name)
async def test_texts_are_completed_several_times_at_once(vendor):
    provider, transport = bound(
        vendor, body(*(candidate({"text": t}) for t in "赤青")), Kind.COMPLETIONS
    )
    answer = await provider.complete({"prompt": "りんごは", "n": 2})
    choices = msgspec.json.decode(answer.raw)["choices"]
    assert [(c["index"], c["text"]) for c in choices] == [(0, "赤"), (1, "青")]
    assert transport.bodies[0]["generationConfig"] == {"candidateCount": 2}


@pytest.mark.parametrize("vendor", BOTH, ids=lambda v: v.name)
@pytest.mark.parametrize("n", [0, -1, 1.5, "2", True])
async def test_a_number_of_answers_that_is_none_is_not_sent(vendor, n):
    provider, transport = bound(vendor, THREE)
    with pytest.raises(InvalidRequest, match="`n`"):
        await provider.chat(ASK | {"n": n})
    assert transport.requests == []


@pytest.mark.parametrize("vendor", BOTH, ids=lambda v: v.name)
async def test_a_model_that_gives_another_number_of_answers_is_told_on_by_name(vendor):
    for raw in (body(candidate({"text": "赤"})), THREE):
        with pytest.raises(UnsupportedParameter) as caught:
            await chatted(vendor, raw, n=2)
        assert caught.value.parameter == "n"
    with pytest.raises(MalformedAnswer, match="without an end"):
        await chatted(vendor, body(candidate({"text": "赤"}), candidate(finish=None, index=1)), n=2)


EARLY = {"promptTokenCount": 20}
TOLD = [
    body(
        candidate({"text": "あ"}, finish=None),
        candidate({"text": "A"}, index=1, finish=None),
        usage=EARLY,
    ),
    body(candidate({"text": "B"}, index=1, finish=None), usage=EARLY),
    body(candidate({"text": "か"}, index=0), usage=EARLY),
    body(candidate(CALL, index=1, finish=None), usage=EARLY),
    body(candidate({"text": "?", "thought": True}, index=2, finish=None), usage=EARLY),
    body(candidate(index=1), candidate({"text": "C"}, index=2, finish="MAX_TOKENS")),
]  # fmt: skip


@pytest.mark.parametrize("vendor", BOTH, ids=lambda v: v.name)
@pytest.mark.parametrize("cut", [1, 2, 3, 7, 64, 1 << 20])
async def test_several_answers_are_streamed_side_by_side_wherever_they_are_cut(vendor, cut):
    provider, transport = bound(vendor, frames(*TOLD))
    transport.cut = cut
    ask = ASK | {"n": 3, "stream_options": {"include_usage": True}}
    chunks = [msgspec.json.decode(chunk) async for chunk in provider.stream_chat(ask)]
    assert transport.bodies[0]["generationConfig"] == {"candidateCount": 3}
    texts, ends, roles, calls, thoughts = ["", "", ""], {}, [0, 0, 0], [0, 0, 0], ["", "", ""]
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        at, delta = choice["index"], choice["delta"]
        texts[at] += delta.get("content") or ""
        thoughts[at] += delta.get("reasoning_content") or ""
        roles[at] += "role" in delta
        calls[at] += len(delta.get("tool_calls") or ())
        if choice["finish_reason"] is not None:
            ends[at] = choice["finish_reason"]
    assert (texts, thoughts) == (["あか", "AB", "C"], ["", "", "?"])
    assert ends == {0: "stop", 1: "tool_calls", 2: "length"}
    assert (roles, calls) == ([1, 1, 1], [0, 1, 0])
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[-1]["usage"]["completion_tokens"] == USAGE.output_tokens


@pytest.mark.parametrize("vendor", BOTH, ids=lambda v: v.name)
@pytest.mark.parametrize(("events", "n", "error"), [
    (TOLD[:-1], 3, MalformedAnswer),  # Two of them did not end.
    (TOLD[:1] + TOLD[2:3], 2, MalformedAnswer),
    ([body(candidate({"text": "あ"}))], 2, UnsupportedParameter),
    ([body(candidate({"text": "あ"}), candidate({}, index=1))], 1, UnsupportedParameter),
])  # fmt: skip
async def test_a_stream_of_another_number_of_answers_fails(vendor, events, n, error):
    provider, _ = bound(vendor, frames(*events))
    with pytest.raises(error):
        [chunk async for chunk in provider.stream_chat(ASK | {"n": n})]


def token(text: str, probability: Any) -> dict[str, Any]:
    return {"token": text, "tokenId": 7, "logProbability": probability}


def told(*tokens: str, tops: bool = False) -> dict[str, Any]:
    chosen = [token(t, -0.5 * i) for i, t in enumerate(tokens)]
    steps = [{"candidates": [c, token("他", "-Infinity")]} for c in chosen]
    return {"chosenCandidates": chosen} | ({"topCandidates": steps} if tops else {})


@pytest.mark.parametrize("vendor", BOTH, ids=lambda v: v.name)
async def test_log_probabilities_are_asked_for_and_given_back_in_openais_words(vendor):
    result = told("赤", "い", tops=True)
    raw = body(candidate({"text": "赤い"}, logprobsResult=result, avgLogprobs=-0.25))
    _, raw, sent = await chatted(vendor, raw, logprobs=True, top_logprobs=2)
    assert sent == {"responseLogprobs": True, "logprobs": 2}
    never = {"token": "他", "logprob": -9999.0, "bytes": None}
    first = {"token": "赤", "logprob": 0.0, "bytes": None}
    second = {"token": "い", "logprob": -0.5, "bytes": None}
    assert raw["choices"][0]["logprobs"] == {
        "content": [
            first | {"top_logprobs": [first, never]}, second | {"top_logprobs": [second, never]},
        ],
        "refusal": None,
    }  # fmt: skip


@pytest.mark.parametrize("vendor", BOTH, ids=lambda v: v.name)
async def test_each_of_several_answers_has_its_own_log_probabilities(vendor):
    raw = body(
        candidate({"text": "赤"}, logprobsResult=told("赤")),
        candidate({"text": "青い"}, index=1, logprobsResult=told("青", "い")),
        candidate(index=2, finish="SAFETY"),
    )
    _, raw, sent = await chatted(vendor, raw, n=3, logprobs=True, top_logprobs=0)
    assert sent == {"candidateCount": 3, "responseLogprobs": True}
    found = [c.get("logprobs") for c in raw["choices"]]
    tokens = [[t["token"] for t in f["content"]] if f else None for f in found]
    assert tokens == [["赤"], ["青", "い"], None]
    assert all(t["top_logprobs"] == [] for f in found if f for t in f["content"])


THOUGHT = {"text": "うーん", "thought": True}


@pytest.mark.parametrize("vendor", BOTH, ids=lambda v: v.name)
@pytest.mark.parametrize(("parts", "tokens", "expected"), [
    (({"text": "赤い"},), ("赤", "い", "<end>"), ["赤", "い"]),
    ((THOUGHT, {"text": "赤い"}), ("赤い", "か", "赤", "い"), ["赤", "い"]),
    ((THOUGHT, {"text": "赤い"}), ("あ", "赤い"), ["赤い"]),
])  # fmt: skip
async def test_only_the_tokens_of_the_answer_are_given_back(vendor, parts, tokens, expected):
    raw = body(candidate(*parts, logprobsResult=told(*tokens)))
    _, raw, _ = await chatted(vendor, raw, logprobs=True)
    assert [t["token"] for t in raw["choices"][0]["logprobs"]["content"]] == expected


@pytest.mark.parametrize("vendor", BOTH, ids=lambda v: v.name)
async def test_a_letter_that_is_cut_into_tokens_leaves_them_as_they_came(vendor):
    usage = {"promptTokenCount": 2, "candidatesTokenCount": 3}
    result = told("\ufffd", "\ufffd", "。")
    raw = body(candidate({"text": "鬱。"}, logprobsResult=result), usage=usage)
    _, found, _ = await chatted(vendor, raw, logprobs=True)
    assert len(found["choices"][0]["logprobs"]["content"]) == 3
    with pytest.raises(UnsupportedParameter, match="thoughts") as caught:
        await chatted(vendor, raw | {"usageMetadata": COUNTED}, logprobs=True)
    assert caught.value.parameter == "logprobs"


@pytest.mark.parametrize("vendor", BOTH, ids=lambda v: v.name)
@pytest.mark.parametrize(("more", "error", "code"), [
    ({"logprobs": True, "tools": TOOLS}, UnsupportedParameter, "logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, UnsupportedParameter, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 1.5}, InvalidRequest, "top_logprobs"),
    ({"top_logprobs": 2}, InvalidRequest, "top_logprobs"),
    ({"logprobs": 3}, InvalidRequest, "logprobs"),
])  # fmt: skip
async def test_what_cannot_be_told_exactly_is_refused_by_name(vendor, more, error, code):
    provider, transport = bound(vendor, body(candidate({"text": "赤"})))
    with pytest.raises(error) as caught:
        await provider.chat(ASK | more)
    assert (caught.value.code, transport.requests) == (code, [])


@pytest.mark.parametrize("vendor", BOTH, ids=lambda v: v.name)
async def test_streams_have_no_log_probabilities_and_say_so(vendor):
    provider, transport = bound(vendor, gemini.PLAIN_STREAM)
    with pytest.raises(UnsupportedParameter) as caught:
        [chunk async for chunk in provider.stream_chat(ASK | {"logprobs": True})]
    assert (caught.value.parameter, transport.requests) == ("logprobs", [])
    plain = ASK | {"logprobs": False, "top_logprobs": 0}
    assert [chunk async for chunk in provider.stream_chat(plain)]


@pytest.mark.parametrize("vendor", BOTH, ids=lambda v: v.name)
async def test_a_model_that_tells_none_or_nonsense_is_told_on(vendor):
    with pytest.raises(UnsupportedParameter, match="told none"):
        await chatted(vendor, body(candidate({"text": "赤"})), logprobs=True)
    uneven = told("赤", tops=True) | {"topCandidates": [{}, {}]}
    for result in (
        uneven,
        {"chosenCandidates": [{"token": "赤"}]},
        {"chosenCandidates": [token("赤", "NaN")]},
    ):
        with pytest.raises(MalformedAnswer):
            await chatted(
                vendor, body(candidate({"text": "赤"}, logprobsResult=result)), logprobs=True
            )
