"""Anthropic's Messages API, after its reference: messages, streams, errors."""

from collections.abc import Mapping
from typing import Any

from gateway.errors import InvalidRequest, MalformedAnswer, QuotaExhausted, RateLimited, Unavailable
from gateway.types import Usage
from tests.support.vendors.canon import ANSWER, ASKS, PNG, SCHEMA, TEXT
from tests.support.vendors.contract import (
    Answered,
    BrokenStream,
    Call,
    Failure,
    Kind,
    Refused,
    Said,
    Sent,
    Streamed,
    Vendor,
)
from tests.support.vendors.openai import typed_frames

KEY = "sk-ant-secret-0123456789"
COUNTED = {
    "input_tokens": 4,
    "cache_creation_input_tokens": 2,
    "cache_read_input_tokens": 16,
    "output_tokens": 9,
    "output_tokens_details": {"thinking_tokens": 4},
}
USAGE = Usage(input_tokens=22, output_tokens=9, cached_input_tokens=16, reasoning_tokens=4)
WEATHER = {"city": "東京"}
CALL = Call(id="toolu_9", name="weather", arguments=WEATHER)
TOOL = ASKS[Kind.CHAT]["tools"]["tools"][0]["function"]


def body(messages: object, **more: object) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 64, "messages": messages, **more}


PLAIN = [{"role": "user", "content": TEXT}]
ASKED: dict[str, Sent | Refused] = {
    "plain": Sent(body=body(PLAIN)),
    "turns": Sent(
        body=body(
            [
                {"role": "user", "content": "りんごは？"},
                {"role": "assistant", "content": "赤。"},
                {"role": "user", "content": "バナナは？"},
            ],
            system="短く答えて。",
            temperature=0,
            top_p=0.5,
            max_tokens=16,
            stop_sequences=["###"],
        )
    ),
    "tools": Sent(
        body=body(
            [
                {"role": "user", "content": "東京の天気は？"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "tool_use", "id": "call_1", "name": "weather", "input": WEATHER}
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "call_1", "content": "晴れ"}
                    ],
                },
            ],
            tools=[
                {
                    "name": "weather",
                    "description": "天気",
                    "input_schema": TOOL["parameters"],
                }
            ],
            tool_choice={"type": "auto"},
        )
    ),
    "json_mode": Refused(parameter="response_format"),
    "structured": Sent(
        body=body(PLAIN, output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    ),
    "image": Sent(
        body=body(
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "何色？"},
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                        },
                    ],
                }
            ]
        )
    ),
}
COMPLETED: dict[str, Sent | Refused] = {
    "plain": Sent(body=body(PLAIN)),
    "parameters": Sent(
        body=body(
            [{"role": "user", "content": "りんごは"}],
            temperature=0.7,
            max_tokens=5,
            stop_sequences=["。"],
        )
    ),
}

PASSED: dict[str, Sent | Refused] = {
    name: Sent(body={"model": "m", **ask}) for name, ask in ASKS[Kind.MESSAGES].items()
}


def message(*blocks: Mapping[str, Any], stop: str | None = "end_turn", **more: Any) -> object:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-2026",
        "content": list(blocks),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": COUNTED,
        **more,
    }


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


TOOL_USE = {"type": "tool_use", "id": "toolu_9", "name": "weather", "input": WEATHER}
ANSWERS = (
    Answered(
        name="plain",
        kind=Kind.MESSAGES,
        body=message(text(ANSWER)),
        said=Said(text=ANSWER, usage=USAGE, model="claude-2026"),
    ),
    Answered(
        name="blocks that chat has not",
        kind=Kind.MESSAGES,
        body=message(
            {"type": "thinking", "thinking": "うーん", "signature": "x"},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            {**text("赤"), "citations": [{"type": "char_location", "cited_text": "赤い"}]},
            stop="pause_turn",
        ),
        said=Said(text="赤", finish_reason="pause_turn", usage=USAGE),
    ),
    Answered(
        name="plain",
        body=message(text(ANSWER)),
        said=Said(text=ANSWER, usage=USAGE, model="claude-2026"),
    ),
    Answered(
        name="plain",
        kind=Kind.COMPLETIONS,
        body=message(text(ANSWER)),
        said=Said(text=ANSWER, usage=USAGE, model="claude-2026"),
    ),
    Answered(
        name="several blocks and a thought",
        body=message(
            {"type": "thinking", "thinking": "うーん", "signature": "x"}, text("赤"), text("です")
        ),
        said=Said(text="赤です", usage=USAGE),
    ),
    Answered(
        name="stop sequence",
        body=message(text("赤"), stop="stop_sequence", stop_sequence="###"),
        said=Said(text="赤", usage=USAGE),
    ),
    Answered(
        name="cut off",
        body=message(text("赤"), stop="max_tokens"),
        said=Said(text="赤", finish_reason="length", usage=USAGE),
    ),
    Answered(
        name="nothing to say", body=message(), said=Said(text="", finish_reason="stop", usage=USAGE)
    ),
    Answered(
        name="tool call",
        body=message(TOOL_USE, stop="tool_use"),
        said=Said(finish_reason="tool_calls", calls=(CALL,), usage=USAGE),
    ),
    Answered(
        name="refusal",
        body=message(stop="refusal", stop_details={"type": "refusal", "explanation": "だめ"}),
        said=Said(finish_reason="content_filter", refusal="だめ", usage=USAGE),
    ),
    Answered(
        name="without a count",
        body=message(text("赤"), usage={"input_tokens": 4, "output_tokens": 9}),
        said=Said(text="赤", usage=Usage(input_tokens=4, output_tokens=9)),
    ),
)


def started(index: int, block: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **of: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": of}


def said(words: str, index: int = 0) -> dict[str, Any]:
    return delta(index, type="text_delta", text=words)


def stopped(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ended(reason: str, **more: Any) -> tuple[dict[str, Any], ...]:
    counted = {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}
    return (
        {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None, **more},
            "usage": counted,
        },
        {"type": "message_stop"},
    )


BEGUN = {
    "type": "message_start",
    "message": message(stop=None, usage={**COUNTED, "output_tokens": 1}),
}
PING = {"type": "ping"}
PLAIN_STREAM = typed_frames(
    BEGUN,
    started(0, text("")),
    PING,
    said(ANSWER[:3]),
    said(ANSWER[3:]),
    stopped(0),
    *ended("end_turn"),
)
STREAMS = (
    Streamed(name="plain", body=PLAIN_STREAM, said=Said(text=ANSWER, usage=USAGE)),
    Streamed(
        name="plain", kind=Kind.COMPLETIONS, body=PLAIN_STREAM, said=Said(text=ANSWER, usage=USAGE)
    ),
    Streamed(
        name="plain", kind=Kind.MESSAGES, body=PLAIN_STREAM, said=Said(text=ANSWER, usage=USAGE)
    ),
    Streamed(
        name="thought and tool calls",
        body=typed_frames(
            BEGUN,
            started(0, {"type": "thinking", "thinking": "", "signature": ""}),
            delta(0, type="thinking_delta", thinking="うーん"),
            delta(0, type="signature_delta", signature="x"),
            stopped(0),
            started(1, text("")),
            said("調べます", 1),
            stopped(1),
            started(2, {**TOOL_USE, "input": {}}),
            delta(2, type="input_json_delta", partial_json=""),
            delta(2, type="input_json_delta", partial_json='{"city":'),
            delta(2, type="input_json_delta", partial_json='"東京"}'),
            stopped(2),
            started(3, {"type": "tool_use", "id": "toolu_10", "name": "now", "input": {}}),
            stopped(3),
            *ended("tool_use"),
        ),
        said=Said(
            text="調べます",
            finish_reason="tool_calls",
            calls=(CALL, Call(id="toolu_10", name="now", arguments={})),
            usage=USAGE,
        ),
    ),
    Streamed(
        name="refusal",
        body=typed_frames(
            BEGUN, *ended("refusal", stop_details={"type": "refusal", "explanation": "だめ"})
        ),
        said=Said(finish_reason="content_filter", refusal="だめ", usage=USAGE),
    ),
)


def error(status: int, explanation: str, case: str) -> object:
    kinds = {
        400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
        404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error",
        504: "timeout_error", 529: "overloaded_error",
    }  # fmt: skip
    inner = {"type": kinds.get(status, "api_error"), "message": explanation}
    return {"type": "error", "error": inner, "request_id": "req_1"}


def failed_inside(kind: str) -> bytes:
    failure = {"type": "error", "error": {"type": kind, "message": "だめ"}}
    return typed_frames(BEGUN, started(0, text("")), said("あ"), failure)


VENDORS = (
    Vendor(
        name="anthropic",
        provider="anthropic",
        config={"anthropic_api_key": KEY, "anthropic_max_tokens": 64},
        urls={
            Kind.CHAT: "https://api.anthropic.com/v1/messages",
            Kind.COMPLETIONS: "https://api.anthropic.com/v1/messages",
            Kind.MESSAGES: "https://api.anthropic.com/v1/messages",
        },
        headers={"x-api-key": KEY, "anthropic-version": "2023-06-01"},
        asks={Kind.CHAT: ASKED, Kind.COMPLETIONS: COMPLETED, Kind.MESSAGES: PASSED},
        answers=ANSWERS,
        streams=STREAMS,
        broken_streams=(
            BrokenStream(
                name="overloaded", body=failed_inside("overloaded_error"), error=RateLimited
            ),
            BrokenStream(name="broken", body=failed_inside("api_error"), error=Unavailable),
            BrokenStream(
                name="invalid", body=failed_inside("invalid_request_error"), error=InvalidRequest
            ),
            BrokenStream(name="broke", body=failed_inside("billing_error"), error=QuotaExhausted),
            BrokenStream(
                name="without an end",
                body=typed_frames(BEGUN, said("あ"), ended("end_turn")[0]),
                error=MalformedAnswer,
            ),
            BrokenStream(
                name="overloaded",
                kind=Kind.MESSAGES,
                body=failed_inside("overloaded_error"),
                error=RateLimited,
            ),
            BrokenStream(
                name="without an end",
                kind=Kind.MESSAGES,
                body=typed_frames(BEGUN, said("あ"), ended("end_turn")[0]),
                error=MalformedAnswer,
            ),
            BrokenStream(
                name="no event", body=typed_frames(BEGUN) + b"data: {]\n\n", error=MalformedAnswer
            ),
        ),
        secrets=(KEY,),
        error=error,
        failures=(
            Failure(
                name="no credit",
                status=400,
                body=error(400, "Your credit balance is too low to access the API.", ""),
                error=QuotaExhausted,
            ),
            Failure(
                name="billing",
                status=402,
                body={"type": "error", "error": {"type": "billing_error", "message": "だめ"}},
                error=QuotaExhausted,
            ),
        ),
        malformed=(b'{"content": []}', b'{"content": "text", "stop_reason": "end_turn"}'),
        refused={
            Kind.CHAT: {
                "seed": 1,
                "n": 2,
                "presence_penalty": 0.5,
                "frequency_penalty": 0.5,
                "logit_bias": {"1": 1},
                "logprobs": True,
                "temperature": 1.5,
                "reasoning_effort": "minimal",
                "functions": [],
                "top_a": 1,
            },
            Kind.COMPLETIONS: {"echo": True, "suffix": "x", "seed": 1},
        },
        honoured={
            Kind.CHAT: {
                "temperature": (1, {"temperature": 1}),
                "top_k": (3, {"top_k": 3}),
                "reasoning_effort": ("low", {"output_config": {"effort": "low"}}),
                "stop": ("。", {"stop_sequences": ["。"]}),
                "max_completion_tokens": (7, {"max_tokens": 7}),
                "user": ("u1", {"metadata": {"user_id": "u1"}}),
                "thinking": ({"type": "adaptive"}, {"thinking": {"type": "adaptive"}}),
            },
            Kind.MESSAGES: {
                "stop": ("。", {"stop_sequences": ["。"]}),
                "max_completion_tokens": (7, {"max_tokens": 9}),
                "top_k": (3, {"top_k": 3}),
            },
        },
        thorough=True,
    ),
)
