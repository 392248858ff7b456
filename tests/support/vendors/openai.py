"""OpenAI itself, after its API reference: chat, completions, embeddings, Responses, streams."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.errors import ContentRefused, MalformedAnswer, QuotaExhausted, RateLimited, Unavailable
from gateway.types import Usage
from tests.support.vendors.canon import ANSWER, ASKS
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
    openai_error,
)

KEY = "sk-secret-0123456789"
PATHS = {
    Kind.CHAT: "/chat/completions",
    Kind.COMPLETIONS: "/completions",
    Kind.EMBEDDINGS: "/embeddings",
    Kind.RESPONSES: "/responses",
}
COUNTED: dict[str, Any] = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 16, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0},
}
USAGE = Usage(input_tokens=20, output_tokens=9, cached_input_tokens=16, reasoning_tokens=4)
HEAD: dict[str, Any] = {"id": "x-1", "created": 1, "model": "m-2026"}


def sent_as_asked(
    kinds: tuple[Kind, ...],
    model: str = "m",
    changes: Mapping[tuple[Kind, str], Sent | Refused] | None = None,
    added: Mapping[str, Any] | None = None,
) -> dict[Kind, dict[str, Sent | Refused]]:
    """The ask as it is, and the model: what OpenAI's own protocol makes of every ask."""
    changed = changes or {}
    return {
        kind: {
            name: changed.get((kind, name), Sent(body={**ask, "model": model, **(added or {})}))
            for name, ask in ASKS[kind].items()
        }
        for kind in kinds
    }


def completion(
    content: object, finish_reason: str = "stop", *, usage: object = None, **message: object
) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, "refusal": None, **message}
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": finish_reason}
    return {**HEAD, "object": "chat.completion", "choices": [choice], "usage": usage or COUNTED}


def chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {**HEAD, "object": "chat.completion.chunk", "choices": [choice], "usage": None}


def last_chunk(usage: object = None) -> dict[str, Any]:
    return {**HEAD, "object": "chat.completion.chunk", "choices": [], "usage": usage or COUNTED}


def frames(*events: object, done: bool = True) -> bytes:
    body = b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events)
    return body + (b"data: [DONE]\n\n" if done else b"")


def typed_frames(*events: Mapping[str, Any]) -> bytes:
    """Server-sent events with names, as the Responses API sends them."""
    return b"".join(
        b"event: "
        + str(event["type"]).encode()
        + b"\ndata: "
        + msgspec.json.encode(event)
        + b"\n\n"
        for event in events
    )


WEATHER = {"name": "weather", "arguments": '{"city":"東京"}'}
CALL = Call(id="call_9", name="weather", arguments={"city": "東京"})

CHAT_ANSWERS = (
    Answered(
        name="plain",
        body=completion(ANSWER),
        said=Said(text=ANSWER, usage=USAGE, model="m-2026"),
    ),
    Answered(
        name="cut off",
        body=completion("赤", "length"),
        said=Said(text="赤", finish_reason="length", usage=USAGE),
    ),
    Answered(
        name="cut off while it thought",
        body=completion(None, "length"),
        said=Said(finish_reason="length", usage=USAGE),
    ),
    Answered(
        name="tool call",
        body=completion(
            None,
            "tool_calls",
            tool_calls=[{"id": "call_9", "type": "function", "function": WEATHER}],
        ),
        said=Said(finish_reason="tool_calls", calls=(CALL,), usage=USAGE),
    ),
    Answered(
        name="refusal",
        body=completion(None, refusal="できません"),
        said=Said(refusal="できません", usage=USAGE),
    ),
    Answered(
        name="content filter",
        body=completion("", "content_filter"),
        said=Said(finish_reason="content_filter", usage=USAGE),
    ),
    Answered(
        name="usage without details",
        body=completion(
            ANSWER, usage={"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
        ),
        said=Said(text=ANSWER, usage=Usage(input_tokens=3, output_tokens=5)),
    ),
)
TEXT_ANSWERS = (
    Answered(
        name="plain",
        kind=Kind.COMPLETIONS,
        body={
            **HEAD,
            "object": "text_completion",
            "choices": [{"index": 0, "text": ANSWER, "logprobs": None, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
        },
        said=Said(
            text=ANSWER, finish_reason="length", usage=Usage(input_tokens=3, output_tokens=5)
        ),
    ),
)
EMBEDDING_ANSWERS = (
    Answered(
        name="plain",
        kind=Kind.EMBEDDINGS,
        body={
            "object": "list",
            "model": "m-2026",
            "data": [
                {"object": "embedding", "index": 0, "embedding": [0.25, -1]},
                {"object": "embedding", "index": 1, "embedding": [1e-7, 0]},
            ],
            "usage": {"prompt_tokens": 4, "total_tokens": 4},
        },
        said=Said(vectors=[[0.25, -1], [1e-7, 0]], usage=Usage(input_tokens=4), model="m-2026"),
    ),
)
CHAT_STREAMS = (
    Streamed(
        name="text",
        body=frames(
            chunk({"role": "assistant", "content": "", "refusal": None}),
            chunk({"content": ANSWER[:7]}),
            chunk({"content": ANSWER[7:]}),
            chunk({}, "stop"),
            last_chunk(),
        ),
        said=Said(text=ANSWER, usage=USAGE),
    ),
    Streamed(
        name="tool call",
        body=frames(
            chunk(
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "call_9",
                            "type": "function",
                            "function": {"name": "weather", "arguments": ""},
                        }
                    ],
                }
            ),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"東京"}'}}]}),
            chunk({}, "tool_calls"),
            last_chunk(),
        ),
        said=Said(finish_reason="tool_calls", calls=(CALL,), usage=USAGE),
    ),
    Streamed(
        name="refusal",
        body=frames(
            chunk({"role": "assistant", "refusal": "でき"}),
            chunk({"refusal": "ません"}),
            chunk({}, "stop"),
            last_chunk(),
        ),
        said=Said(refusal="できません", usage=USAGE),
    ),
    Streamed(
        name="with comments and carriage returns",
        body=b": keep-alive\r\n\r\n"
        + frames(
            chunk({"role": "assistant", "content": ANSWER}), chunk({}, "length"), last_chunk()
        ).replace(b"\n", b"\r\n"),
        said=Said(text=ANSWER, finish_reason="length", usage=USAGE),
    ),
)
TEXT_STREAMS = (
    Streamed(
        name="text",
        kind=Kind.COMPLETIONS,
        body=frames(
            *(
                {
                    **HEAD,
                    "object": "text_completion",
                    "choices": [{"index": 0, "text": text, "finish_reason": reason}],
                }
                for text, reason in ((ANSWER[:3], None), (ANSWER[3:], None), ("", "stop"))
            ),
            {**HEAD, "object": "text_completion", "choices": [], "usage": COUNTED},
        ),
        said=Said(text=ANSWER, usage=USAGE),
    ),
)
BROKEN = (
    BrokenStream(name="nothing", body=b"", error=MalformedAnswer),
    BrokenStream(name="a page", body=b"<html></html>", error=MalformedAnswer),
    BrokenStream(
        name="no end", body=frames(chunk({"content": "赤"}), done=False), error=MalformedAnswer
    ),
    BrokenStream(
        name="half an event", body=frames(chunk({"content": "赤"}))[:-30], error=MalformedAnswer
    ),
    BrokenStream(
        name="an event that is no JSON",
        body=frames(chunk({"content": "赤"}), done=False) + b"data: {\n\n",
        error=MalformedAnswer,
    ),
    BrokenStream(
        name="rate limit after a word",
        body=frames(
            chunk({"content": "赤"}),
            {
                "error": {
                    "message": "slow",
                    "type": "rate_limit_error",
                    "code": "rate_limit_exceeded",
                }
            },
        ),
        error=RateLimited,
    ),
    BrokenStream(
        name="server error after a word",
        body=frames(
            chunk({"content": "赤"}),
            {"error": {"message": "The server had an error", "type": "server_error", "code": None}},
        ),
        error=Unavailable,
    ),
)

RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "model": "m-2026",
    "output": [
        {"id": "rs_1", "type": "reasoning", "summary": []},
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": ANSWER, "annotations": []}],
        },
    ],
    "usage": {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 16},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 29,
    },
}
RESPONSES_ANSWERS = (
    Answered(
        name="plain",
        kind=Kind.RESPONSES,
        body=RESPONSE,
        said=Said(text=ANSWER, usage=USAGE, model="m-2026"),
    ),
    Answered(
        name="cut off",
        kind=Kind.RESPONSES,
        body={
            **RESPONSE,
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
        },
        said=Said(text=ANSWER, finish_reason="length", usage=USAGE),
    ),
    Answered(
        name="refusal",
        kind=Kind.RESPONSES,
        body={
            **RESPONSE,
            "output": [
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "refusal", "refusal": "できません"}],
                }
            ],
        },
        said=Said(refusal="できません", usage=USAGE),
    ),
)
RESPONSES_STREAMS = (
    Streamed(
        name="text",
        kind=Kind.RESPONSES,
        body=typed_frames(
            {"type": "response.created", "response": {**RESPONSE, "status": "in_progress"}},
            {"type": "response.output_text.delta", "delta": ANSWER[:5], "output_index": 0},
            {"type": "response.output_text.delta", "delta": ANSWER[5:], "output_index": 0},
            {"type": "response.completed", "response": RESPONSE},
        ),
        said=Said(text=ANSWER, usage=USAGE),
    ),
)
BROKEN_RESPONSES = (
    BrokenStream(
        name="no end",
        kind=Kind.RESPONSES,
        body=typed_frames({"type": "response.output_text.delta", "delta": "赤"}),
        error=MalformedAnswer,
    ),
    BrokenStream(
        name="failed",
        kind=Kind.RESPONSES,
        body=typed_frames(
            {
                "type": "response.failed",
                "response": {"error": {"code": "server_error", "message": "だめ"}},
            }
        ),
        error=Unavailable,
    ),
    BrokenStream(
        name="rate limit",
        kind=Kind.RESPONSES,
        body=typed_frames({"type": "error", "code": "rate_limit_exceeded", "message": "slow"}),
        error=RateLimited,
    ),
)
OWN_FAILURES = (
    Failure(
        name="quota",
        status=429,
        body={
            "error": {
                "message": "You exceeded your current quota",
                "type": "insufficient_quota",
                "param": None,
                "code": "insufficient_quota",
            }
        },
        error=QuotaExhausted,
    ),
    Failure(
        name="rate limit in milliseconds",
        status=429,
        body=openai_error(429, "slow down", "tokens"),
        error=RateLimited,
        headers={"retry-after-ms": "1500", "retry-after": "2"},
        retry_after=1.5,
    ),
    Failure(
        name="content filter",
        status=400,
        body={
            "error": {
                "message": "Your request was rejected",
                "type": "invalid_request_error",
                "param": None,
                "code": "content_policy_violation",
            }
        },
        error=ContentRefused,
    ),
)

_ALL = (Kind.CHAT, Kind.COMPLETIONS, Kind.EMBEDDINGS, Kind.RESPONSES)

VENDORS = (
    Vendor(
        name="openai",
        provider="openai",
        config={"openai_api_key": KEY, "openai_organization": "org-1"},
        urls={kind: f"https://api.openai.com/v1{PATHS[kind]}" for kind in _ALL},
        headers={"authorization": f"Bearer {KEY}", "openai-organization": "org-1"},
        asks=sent_as_asked(_ALL),
        answers=(*CHAT_ANSWERS, *TEXT_ANSWERS, *EMBEDDING_ANSWERS, *RESPONSES_ANSWERS),
        streams=(*CHAT_STREAMS, *TEXT_STREAMS, *RESPONSES_STREAMS),
        broken_streams=(*BROKEN, *BROKEN_RESPONSES),
        failures=OWN_FAILURES,
        thorough=True,
    ),
)
