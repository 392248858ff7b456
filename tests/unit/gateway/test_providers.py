from typing import Any

import msgspec
import pytest

from gateway.client import Gateway
from gateway.config import parse
from gateway.errors import (
    AccessDenied,
    InvalidRequest,
    MalformedAnswer,
    RateLimited,
    Unavailable,
    UnsupportedParameter,
)
from gateway.http import Reply
from gateway.providers import Provider, bind
from gateway.providers.chaos import Fault, fate
from gateway.types import JSON
from tests.support.gateway_wire import Script, ScriptedTransport, chat_reply, endpoint, reply, sse

TEXT = "りんごは👩‍👩‍👧何色？ か\u3099 \u2028\u0085 שלום"
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": TEXT}]}
CHUNKS: list[dict[str, Any]] = [
    {"id": "1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": TEXT[:5]}}]},
    {"id": "1", "choices": [{"index": 0, "delta": {"content": TEXT[5:]}}]},
    {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
]


def bound(
    provider: str, script: Script, kind: str = "llm/v1/chat", cut: int = 1 << 20, **config: object
) -> tuple[Provider, ScriptedTransport]:
    transport = ScriptedTransport(script, cut=cut)
    return bind(endpoint(provider, kind, **config), transport), transport


def always(answer: Reply) -> Script:
    return lambda _: answer


def spoken(chunks: list[bytes], *, field: str = "delta") -> str:
    choices = [c for chunk in chunks for c in msgspec.json.decode(chunk)["choices"]]
    if field == "text":
        return "".join(choice["text"] for choice in choices)
    return "".join(choice["delta"].get("content") or "" for choice in choices)


OPENAI: dict[str, Any] = {"api_base": "http://model/v1", "api_key": "k"}


async def test_openai_sends_model_key_and_parameters_and_no_stream_flag():
    provider, transport = bound("openai-compatible", lambda _: chat_reply(TEXT), **OPENAI)
    answer = await provider.chat({**CHAT, "temperature": 0, "top_k": 3, "model": "mine"})
    request = transport.requests[0]
    assert request.url == "http://model/v1/chat/completions"
    assert request.headers["Authorization"] == "Bearer k"
    assert transport.bodies == [{**CHAT, "temperature": 0, "top_k": 3, "model": "m"}]
    assert TEXT.encode() in request.body
    assert (answer.text, answer.finish_reason, answer.model) == (TEXT, "stop", "m-1")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 5)


async def test_usage_that_is_not_reported_is_none_and_not_zero():
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "length"}]}
    provider, _ = bound("openai-compatible", lambda _: reply(body=body), **OPENAI)
    answer = await provider.chat(CHAT)
    assert answer.usage.input_tokens is None
    assert answer.finish_reason == "length"
    assert answer.outcome == "ok"


@pytest.mark.parametrize(
    "answer",
    [
        chat_reply("", finish_reason="content_filter"),
        chat_reply(None, finish_reason="content_filter"),
        chat_reply(None, refusal="できません"),
    ],
)
async def test_filters_and_refusals_are_told_from_answers(answer):
    provider, _ = bound("openai-compatible", lambda _: answer, **OPENAI)
    assert (await provider.chat(CHAT)).outcome == "refused"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b'{"choices": [{"message": {"content": "\xe3\x82',
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": {"content": "\xff"}}]}',
    ],
)
async def test_what_is_no_answer_is_malformed(body):
    provider, _ = bound(
        "openai-compatible", lambda _: Reply(status=200, headers={}, body=body), **OPENAI
    )
    with pytest.raises(MalformedAnswer):
        await provider.chat(CHAT)


async def test_an_error_inside_a_200_is_an_error():
    body = {"error": {"message": "slow down", "code": 429}}
    provider, _ = bound("openai-compatible", lambda _: reply(body=body), **OPENAI)
    with pytest.raises(RateLimited, match="slow down"):
        await provider.chat(CHAT)


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 64, 1 << 20])
async def test_an_openai_stream_is_passed_on_byte_for_byte_however_it_is_cut(cut):
    stream = Reply(status=200, headers={}, body=sse(*CHUNKS))
    provider, transport = bound("openai-compatible", lambda _: stream, cut=cut, **OPENAI)
    chunks = [chunk async for chunk in provider.stream_chat(CHAT)]
    assert chunks == [msgspec.json.encode(chunk) for chunk in CHUNKS]
    assert spoken(chunks) == TEXT
    assert transport.bodies[0]["stream"] is True
    assert transport.open_streams == 0


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (sse(CHUNKS[0], done=False), MalformedAnswer),
        (sse(CHUNKS[0], {"error": {"message": "m", "code": 429}}), RateLimited),
        (sse(CHUNKS[0]) + b"data: {\n\n", MalformedAnswer),
        (b"<html>", MalformedAnswer),
    ],
)
async def test_a_stream_that_breaks_is_not_an_answer(body, kind):
    if kind is MalformedAnswer and body.endswith(b"{\n\n"):
        body = body.replace(b"data: [DONE]\n\n", b"")
    stream = Reply(status=200, headers={}, body=body)
    provider, transport = bound("openai-compatible", lambda _: stream, **OPENAI)
    with pytest.raises(kind):
        [chunk async for chunk in provider.stream_chat(CHAT)]
    assert transport.open_streams == 0


async def test_a_stream_refused_by_status_says_why():
    failed = reply(401, {"error": {"message": "wrong key"}})
    provider, _ = bound("openai-compatible", lambda _: failed, **OPENAI)
    with pytest.raises(AccessDenied, match="wrong key"):
        [chunk async for chunk in provider.stream_chat(CHAT)]


# Text Generation Inference, through huggingface_hub.

TGI: dict[str, Any] = {"hf_server_url": "http://tgi"}


def tgi_chat(text: str, finish_reason: str = "stop") -> Reply:
    answer = msgspec.json.decode(chat_reply(text, finish_reason=finish_reason).body)
    return reply(body=answer | {"created": 1, "system_fingerprint": "3.3.7-native"})


def generated(text: str, finish_reason: str = "eos_token") -> Reply:
    details = {"finish_reason": finish_reason, "generated_tokens": 4, "prefill": [], "tokens": []}
    return reply(body=[{"generated_text": text, "details": details}], x_prompt_tokens="11")


async def test_tgi_chats_by_its_messages_api_without_anybodys_hugging_face_token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_private")
    provider, transport = bound("tgi", lambda _: tgi_chat(TEXT, "stop_sequence"), **TGI)
    answer = await provider.chat({**CHAT, "temperature": 0, "max_completion_tokens": 9, "n": 1})
    assert (answer.text, answer.finish_reason) == (TEXT, "stop")
    assert answer.usage.output_tokens == 5
    request = transport.requests[0]
    assert request.url == "http://tgi/v1/chat/completions"
    assert "authorization" not in {name.lower() for name in request.headers}
    sent = {k: v for k, v in transport.bodies[0].items() if v is not None}
    assert sent == {**CHAT, "model": "tgi", "temperature": 0, "max_tokens": 9, "stream": False}


async def test_tgi_gets_the_key_it_is_configured_with():
    provider, transport = bound("tgi", lambda _: tgi_chat("x"), api_key="k", **TGI)
    await provider.chat(CHAT)
    assert transport.requests[0].headers["authorization"] == "Bearer k"


async def test_tgi_completes_natively_with_the_temperature_it_was_given():
    provider, transport = bound("tgi", lambda _: generated(TEXT), "llm/v1/completions", **TGI)
    answer = await provider.complete({"prompt": TEXT, "temperature": 0.7, "max_tokens": 5})
    assert (answer.text, answer.finish_reason) == (TEXT, "stop")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (11, 4)
    parameters: Any = transport.bodies[0]["parameters"]
    assert transport.bodies[0]["inputs"] == TEXT
    assert parameters["temperature"] == 0.7
    assert parameters["max_new_tokens"] == 5


async def test_temperature_zero_is_greedy_on_tgi():
    provider, transport = bound("tgi", lambda _: generated("x"), "llm/v1/completions", **TGI)
    await provider.complete({"prompt": "q", "temperature": 0, "top_p": 0.5})
    parameters: Any = transport.bodies[0]["parameters"]
    assert parameters["do_sample"] is False
    assert parameters.get("temperature") is None
    assert parameters.get("top_p") is None


async def test_a_stop_sequence_is_no_part_of_the_text():
    ended = generated("答え。###", "stop_sequence")
    provider, _ = bound("tgi", lambda _: ended, "llm/v1/completions", **TGI)
    assert (await provider.complete({"prompt": "q", "stop": "###"})).text == "答え。"


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("n", 2), ("logit_bias", {"1": 2}), ("presence_penalty", 0.5), ("top_k", 4), ("made_up", 1)],
)
async def test_tgi_refuses_by_name_what_it_would_bend(parameter, value):
    provider, transport = bound("tgi", lambda _: tgi_chat("x"), **TGI)
    with pytest.raises(UnsupportedParameter) as caught:
        await provider.chat({**CHAT, parameter: value})
    assert caught.value.parameter == parameter
    assert transport.requests == []


@pytest.mark.parametrize("cut", [1, 5, 1 << 20])
async def test_tgi_streams_chat_and_text(cut):
    head = {"created": 1, "model": "m", "system_fingerprint": "f", "object": "c"}
    chunks = [
        chunk | head | {"choices": [{"finish_reason": None, **chunk["choices"][0]}]}
        for chunk in CHUNKS
    ]
    for chunk in chunks:
        chunk["choices"][0]["delta"] = {"role": "assistant", **chunk["choices"][0]["delta"]}
    stream = Reply(status=200, headers={}, body=sse(*chunks))
    provider, transport = bound("tgi", lambda _: stream, cut=cut, **TGI)
    assert spoken([c async for c in provider.stream_chat(CHAT)]) == TEXT
    assert transport.open_streams == 0

    end = {"finish_reason": "length", "generated_tokens": 2, "input_length": 7, "seed": None}
    tokens = [
        {"index": 1, "token": _token(1, TEXT[:9]), "generated_text": None, "details": None},
        {"index": 2, "token": _token(2, TEXT[9:]), "generated_text": TEXT, "details": end},
    ]
    body = sse(*tokens, done=False).replace(b"data: ", b"data:")
    stream = Reply(status=200, headers={}, body=body)
    provider, transport = bound("tgi", lambda _: stream, "llm/v1/completions", cut=cut, **TGI)
    asked: dict[str, Any] = {"prompt": "q", "stream_options": {"include_usage": True}}
    events = [c async for c in provider.stream_complete(asked)]
    assert spoken(events, field="text") == TEXT
    assert msgspec.json.decode(events[-1])["usage"]["prompt_tokens"] == 7
    assert msgspec.json.decode(events[-2])["choices"][0]["finish_reason"] == "length"
    assert transport.open_streams == 0


def _token(number: int, text: str) -> dict[str, object]:
    return {"id": number, "text": text, "logprob": -0.1, "special": False}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(429, {"error": "Model is overloaded", "error_type": "overloaded"}), RateLimited),
        (reply(422, {"error": "too long", "error_type": "validation"}), InvalidRequest),
        (reply(424, {"error": "failed", "error_type": "generation"}), Unavailable),
        (reply(body={"nothing": 1}), MalformedAnswer),
        (reply(body=b"<html>"), MalformedAnswer),
    ],
)
@pytest.mark.parametrize("kind_of_endpoint", ["llm/v1/chat", "llm/v1/completions"])
async def test_failures_of_tgi_keep_their_meaning(answer, kind, kind_of_endpoint):
    provider, _ = bound("tgi", lambda _: answer, kind_of_endpoint, **TGI)
    asking = (
        provider.chat(CHAT) if "chat" in kind_of_endpoint else provider.complete({"prompt": "q"})
    )
    with pytest.raises(kind):
        await asking


async def test_an_overload_inside_a_tgi_stream_is_a_rate_limit():
    for kind, event in [
        ("llm/v1/chat", {"error": {"message": "Model is overloaded", "http_status_code": 422}}),
        ("llm/v1/completions", {"error": "Model is overloaded", "error_type": "overloaded"}),
    ]:
        stream = Reply(status=200, headers={}, body=sse(event))
        provider, transport = bound("tgi", always(stream), kind, **TGI)
        opened = (
            provider.stream_chat(CHAT)
            if kind == "llm/v1/chat"
            else provider.stream_complete({"prompt": "q"})
        )
        with pytest.raises(RateLimited):
            [chunk async for chunk in opened]
        assert transport.open_streams == 0


async def test_leaving_a_tgi_stream_early_closes_it():
    token = {"index": 1, "token": _token(1, "赤"), "generated_text": None, "details": None}
    body = sse(*[token] * 50, done=False)
    provider, transport = bound(
        "tgi", always(Reply(status=200, headers={}, body=body)), "llm/v1/completions", cut=9, **TGI
    )
    stream = provider.stream_complete({"prompt": "q"})
    await anext(stream)
    assert transport.open_streams == 1
    await stream.aclose()
    assert transport.open_streams == 0


# A model behind `mlflow models serve`.

SERVED: dict[str, Any] = {"model_server_url": "http://served"}


@pytest.mark.parametrize(
    "predictions",
    [
        [TEXT],
        TEXT,
        [{"generated_text": TEXT}],
        {"choices": [{"message": {"content": TEXT}}]},
        {"choices": [{"text": TEXT}]},
        {"anything": [TEXT]},
        [{"candidates": [{"message": {"content": TEXT}}]}],
    ],
)
async def test_predictions_are_understood_in_every_shape(predictions):
    answer = reply(body={"predictions": predictions})
    provider, _ = bound("mlflow-model-serving", lambda _: answer, **SERVED)
    assert (await provider.chat(CHAT)).text == TEXT


async def test_one_user_message_goes_as_mlflow_sends_it():
    provider, transport = bound("mlflow-model-serving", lambda _: reply(body=["x"]), **SERVED)
    await provider.chat({**CHAT, "temperature": 0.2})
    assert transport.requests[0].url == "http://served/invocations"
    assert transport.bodies == [{"inputs": [TEXT], "params": {"n": 1, "temperature": 0.2}}]


async def test_several_messages_go_as_messages():
    messages: Any = [{"role": "system", "content": "短く"}, {"role": "user", "content": TEXT}]
    provider, transport = bound("mlflow-model-serving", lambda _: reply(body=["x"]), **SERVED)
    await provider.chat({"messages": messages})
    assert transport.bodies[0]["inputs"] == messages
    strict, _ = bound(
        "mlflow-model-serving", lambda _: reply(body=["x"]), input_form="strings", **SERVED
    )
    with pytest.raises(UnsupportedParameter):
        await strict.chat({"messages": messages})


async def test_vectors_are_read_nested_and_flat():
    for predictions in ([[0.5, 1]], [0.5, 1]):
        answer = reply(body={"predictions": predictions})
        provider, _ = bound("mlflow-model-serving", always(answer), "llm/v1/embeddings", **SERVED)
        raw = msgspec.json.decode((await provider.embed({"input": "x"})).raw)
        assert [item["embedding"] for item in raw["data"]] == [[0.5, 1]]


# Old completions, echo and chaos.


async def test_echo_says_it_back_honours_the_limit_and_refuses_what_it_does_not_know():
    provider, _ = bound("echo", lambda _: reply())
    whole = await provider.chat(CHAT)
    assert (whole.text, whole.finish_reason) == (TEXT, "stop")
    cut = await provider.chat({**CHAT, "max_tokens": 2})
    assert TEXT.startswith(cut.text)
    assert (cut.finish_reason, cut.usage.output_tokens) == ("length", 2)
    with pytest.raises(UnsupportedParameter, match="tools"):
        await provider.chat({**CHAT, "tools": [{}]})


def test_fate_is_a_function_of_seed_prompt_and_attempt():
    options: dict[str, JSON] = {
        "seed": 7,
        "rates": {"rate_limited": 0.3, "reset": 0.3},
        "latency": {"median_ms": 9},
    }
    first = [fate(options, b"q", attempt) for attempt in range(1, 200)]
    assert first == [fate(options, b"q", attempt) for attempt in range(1, 200)]
    assert first != [fate(options | {"seed": 8}, b"q", attempt) for attempt in range(1, 200)]
    faults = [one.fault for one in first]
    assert 30 < faults.count(Fault.RATE_LIMITED) < 90
    assert None in faults


async def test_old_completions_routes_ask_a_chat_model_by_chat():
    text = """
routes:
  - name: %s
    route_type: llm/v1/completions
    model: {provider: openai, name: %s, config: {openai_api_key: k}}
"""
    transport = ScriptedTransport(lambda _: chat_reply(TEXT))
    old = parse(text % ("old", "gpt-3.5-turbo"), {}).endpoints["old"]
    answer = await bind(old, transport).complete({"prompt": TEXT, "max_tokens": 5})
    assert answer.text == TEXT
    assert msgspec.json.decode(answer.raw)["object"] == "text_completion"
    assert transport.requests[0].url.endswith("/chat/completions")
    assert transport.bodies[0]["messages"] == CHAT["messages"]
    with pytest.raises(UnsupportedParameter, match="suffix"):
        await bind(old, transport).complete({"prompt": TEXT, "suffix": "x"})

    completed = reply(body={"choices": [{"text": TEXT, "finish_reason": "stop"}]})
    transport = ScriptedTransport(always(completed))
    instruct = parse(text % ("new", "gpt-3.5-turbo-instruct"), {}).endpoints["new"]
    assert (await bind(instruct, transport).complete({"prompt": TEXT})).text == TEXT
    assert transport.requests[0].url.endswith("/v1/completions")


@pytest.mark.parametrize("limit", [0, -1, "5", 1.5, True])
async def test_echo_refuses_a_limit_of_tokens_that_is_none(limit):
    text = "endpoints: [{name: a, endpoint_type: llm/v1/chat, model: {provider: echo}}]"
    async with Gateway(parse(text, {})) as gateway:
        with pytest.raises(InvalidRequest, match="`max_tokens` must be a whole number above 0"):
            await gateway.chat(
                "a", {"messages": [{"role": "user", "content": "a b c"}], "max_tokens": limit}
            )
