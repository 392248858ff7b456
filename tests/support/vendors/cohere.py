"""Cohere's API version 2, after its reference: chat, streams, embeddings, errors."""

from collections.abc import Mapping
from typing import Any

from gateway.errors import AccessDenied, MalformedAnswer, QuotaExhausted, TimedOut, Unavailable
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

KEY = "co-secret-0123456789"
COUNTED = {
    "billed_units": {"input_tokens": 3, "output_tokens": 8},
    "tokens": {"input_tokens": 20.0, "output_tokens": 9.0},
    "cached_tokens": 16,
}
USAGE = Usage(input_tokens=20, output_tokens=9, cached_input_tokens=16)
CALLED = {
    "id": "weather_9",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"東京"}'},
}
CALL = Call(id="weather_9", name="weather", arguments={"city": "東京"})
PLAIN = [{"role": "user", "content": TEXT}]
TOOLS = ASKS[Kind.CHAT]["tools"]

ASKED: dict[str, Sent | Refused] = {
    "plain": Sent(body={"model": "m", "messages": PLAIN}),
    "turns": Sent(
        body={
            "model": "m",
            "messages": ASKS[Kind.CHAT]["turns"]["messages"],
            "temperature": 0,
            "p": 0.5,
            "max_tokens": 16,
            "stop_sequences": ["###"],
        }
    ),
    "tools": Sent(
        body={
            "model": "m",
            "messages": [
                {"role": "user", "content": "東京の天気は？"},
                {
                    "role": "assistant",
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city":"東京"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "晴れ"},
            ],
            "tools": TOOLS["tools"],
        }
    ),
    "json_mode": Sent(
        body={"model": "m", "messages": PLAIN, "response_format": {"type": "json_object"}}
    ),
    "structured": Sent(
        body={
            "model": "m",
            "messages": PLAIN,
            "response_format": {"type": "json_object", "json_schema": SCHEMA},
        }
    ),
    "image": Sent(
        body={
            "model": "m",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "何色？"},
                        {
                            "type": "image_url",
                            "image_url": {"url": f"data:image/png;base64,{PNG}"},
                        },
                    ],
                }
            ],
        }
    ),
}
COMPLETED: dict[str, Sent | Refused] = {
    "plain": Sent(body={"model": "m", "messages": PLAIN}),
    "parameters": Sent(
        body={
            "model": "m",
            "messages": [{"role": "user", "content": "りんごは"}],
            "temperature": 0.7,
            "max_tokens": 5,
            "stop_sequences": ["。"],
        }
    ),
}


def to_embed(*texts: str) -> Sent:
    return Sent(
        body={
            "model": "m",
            "texts": list(texts),
            "input_type": "search_document",
            "embedding_types": ["float"],
            "truncate": "NONE",
        }
    )


def answer(
    *content: Mapping[str, Any], finish: str = "COMPLETE", usage: object = COUNTED, **more: Any
) -> object:
    message = {"role": "assistant", "content": list(content), **more}
    return {"id": "c-1", "finish_reason": finish, "message": message, "usage": usage}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


ANSWERS = (
    Answered(
        name="plain", body=answer(text(ANSWER)), said=Said(text=ANSWER, usage=USAGE, model="m")
    ),
    Answered(
        name="plain",
        kind=Kind.COMPLETIONS,
        body=answer(text(ANSWER)),
        said=Said(text=ANSWER, usage=USAGE),
    ),
    Answered(
        name="plain",
        kind=Kind.EMBEDDINGS,
        body={
            "id": "e-1",
            "embeddings": {"float": [[0.5, -1.0], [0.25, 0.0]]},
            "texts": ["赤", "青"],
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 2}},
        },
        said=Said(vectors=[[0.5, -1.0], [0.25, 0.0]], usage=Usage(input_tokens=2), model="m"),
    ),
    Answered(
        name="a thought",
        body=answer({"type": "thinking", "thinking": "うーん"}, text("赤")),
        said=Said(text="赤", usage=USAGE),
    ),
    Answered(
        name="stop sequence",
        body=answer(text("赤"), finish="STOP_SEQUENCE"),
        said=Said(text="赤", usage=USAGE),
    ),
    Answered(
        name="cut off",
        body=answer(text("赤"), finish="MAX_TOKENS"),
        said=Said(text="赤", finish_reason="length", usage=USAGE),
    ),
    Answered(
        name="filtered",
        body=answer(finish="ERROR_TOXIC"),
        said=Said(text="", finish_reason="content_filter", usage=USAGE),
    ),
    Answered(
        name="tool call",
        body={
            "id": "c-1",
            "finish_reason": "TOOL_CALL",
            "message": {"role": "assistant", "tool_plan": "調べます", "tool_calls": [CALLED]},
            "usage": COUNTED,
        },
        said=Said(finish_reason="tool_calls", calls=(CALL,), usage=USAGE),
    ),
    Answered(
        name="without a count",
        body={
            "id": "c-1",
            "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [text("赤")]},
        },
        said=Said(text="赤"),
    ),
)

BEGUN = {
    "type": "message-start",
    "id": "c-1",
    "delta": {
        "message": {
            "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": [],
        }
    },
}  # fmt: skip


def piece(kind: str, index: int = 0, **message: Any) -> dict[str, Any]:
    return {"type": kind, "index": index, "delta": {"message": message}}


def said(words: str) -> dict[str, Any]:
    return piece("content-delta", content={"text": words})


def end(kind: str, index: int = 0) -> dict[str, Any]:
    return {"type": kind, "index": index}


def ended(reason: str, **more: Any) -> dict[str, Any]:
    delta = {"finish_reason": reason, "usage": COUNTED, **more}
    return {"type": "message-end", "id": "c-1", "delta": delta}


PLAIN_STREAM = typed_frames(
    BEGUN,
    piece("content-start", content={"type": "text", "text": ""}),
    said(ANSWER[:3]),
    said(ANSWER[3:]),
    end("content-end"),
    piece("citation-start", citations={"start": 0, "end": 1, "text": "赤", "sources": []}),
    end("citation-end"),
    ended("COMPLETE"),
)
STREAMS = (
    Streamed(name="plain", body=PLAIN_STREAM, said=Said(text=ANSWER, usage=USAGE)),
    Streamed(
        name="plain", kind=Kind.COMPLETIONS, body=PLAIN_STREAM, said=Said(text=ANSWER, usage=USAGE)
    ),
    Streamed(
        name="tool calls",
        body=typed_frames(
            BEGUN,
            piece("tool-plan-delta", tool_plan="調べ"),
            piece("tool-plan-delta", tool_plan="ます"),
            piece(
                "tool-call-start",
                tool_calls={**CALLED, "function": {"name": "weather", "arguments": ""}},
            ),
            piece("tool-call-delta", tool_calls={"function": {"arguments": '{"city":'}}),
            piece("tool-call-delta", tool_calls={"function": {"arguments": '"東京"}'}}),
            end("tool-call-end"),
            piece(
                "tool-call-start",
                1,
                tool_calls={"id": "now_1", "type": "function", "function": {"name": "now"}},
            ),
            end("tool-call-end", 1),
            ended("TOOL_CALL"),
        ),
        said=Said(
            finish_reason="tool_calls",
            calls=(CALL, Call(id="now_1", name="now", arguments={})),
            usage=USAGE,
        ),
    ),
)

VENDORS = (
    Vendor(
        name="cohere",
        provider="cohere",
        config={"cohere_api_key": KEY, "cohere_input_type": "search_document"},
        urls={
            Kind.CHAT: "https://api.cohere.com/v2/chat",
            Kind.COMPLETIONS: "https://api.cohere.com/v2/chat",
            Kind.EMBEDDINGS: "https://api.cohere.com/v2/embed",
        },
        headers={"authorization": f"Bearer {KEY}"},
        asks={
            Kind.CHAT: ASKED,
            Kind.COMPLETIONS: COMPLETED,
            Kind.EMBEDDINGS: {"one": to_embed(TEXT), "list": to_embed("赤", "青")},
        },
        answers=ANSWERS,
        streams=STREAMS,
        broken_streams=(
            BrokenStream(
                name="generation failed",
                body=typed_frames(BEGUN, said("あ"), ended("ERROR", error="だめ")),
                error=Unavailable,
            ),
            BrokenStream(
                name="generation too slow",
                body=typed_frames(BEGUN, said("あ"), ended("TIMEOUT")),
                error=TimedOut,
            ),
            BrokenStream(
                name="without an end", body=typed_frames(BEGUN, said("あ")), error=MalformedAnswer
            ),
            BrokenStream(
                name="no event", body=typed_frames(BEGUN) + b"data: {]\n\n", error=MalformedAnswer
            ),
        ),
        secrets=(KEY,),
        error=lambda _status, explanation, _case: {"id": "x", "message": explanation},
        failures=(
            Failure(
                name="trial key used up",
                status=429,
                body={
                    "message": "You are using a Trial key, which is limited to 1000 API calls / "
                    "month."
                },
                error=QuotaExhausted,
            ),
            Failure(name="bad token", status=498, body={"message": "だめ"}, error=AccessDenied),
        ),
        malformed=(b'{"message": {}}', b'{"finish_reason": "COMPLETE"}'),
        refused={
            Kind.CHAT: {
                "n": 2,
                "top_p": 1,
                "presence_penalty": -0.5,
                "frequency_penalty": 1.5,
                "logit_bias": {"1": 1},
                "logprobs": True,
                "parallel_tool_calls": False,
            },
            Kind.EMBEDDINGS: {"encoding_format": "hex", "normalize": True},
        },
        honoured={
            Kind.CHAT: {
                "seed": (7, {"seed": 7}),
                "top_k": (3, {"k": 3}),
                "presence_penalty": (0.5, {"presence_penalty": 0.5}),
                "max_completion_tokens": (7, {"max_tokens": 7}),
                "stop": ("。", {"stop_sequences": ["。"]}),
            },
            Kind.EMBEDDINGS: {
                "dimensions": (256, {"output_dimension": 256}),
                "input_type": ("search_query", {"input_type": "search_query"}),
            },
        },
        thorough=True,
    ),
)
