"""AWS Bedrock, after its API reference: Converse and its stream, embeddings, errors."""

import struct
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from zlib import crc32

import msgspec

from gateway.errors import (
    AccessDenied,
    InvalidRequest,
    MalformedAnswer,
    QuotaExhausted,
    RateLimited,
    TimedOut,
    Unavailable,
)
from gateway.types import Usage
from tests.support.vendors import anthropic
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

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SESSION = "FwoGZXIvYXdzEBYaDExample"
BEARER = "bedrock-api-key-0123456789"
COUNTED = {
    "inputTokens": 4,
    "outputTokens": 9,
    "totalTokens": 31,
    "cacheReadInputTokens": 16,
    "cacheWriteInputTokens": 2,
}
USAGE = Usage(input_tokens=22, output_tokens=9, cached_input_tokens=16)
WEATHER = {"city": "東京"}
CALL = Call(id="tooluse_9", name="weather", arguments=WEATHER)
TOOL = ASKS[Kind.CHAT]["tools"]["tools"][0]["function"]
MODEL = "us.anthropic.claude-x-v1:0"
HOST = "https://bedrock-runtime.us-east-1.amazonaws.com"


def said(*texts: str) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": [{"text": t}]} for i, t in enumerate(texts)]


ASKED: dict[str, Sent | Refused] = {
    "plain": Sent(body={"messages": said(TEXT)}),
    "turns": Sent(
        body={
            "messages": said("りんごは？", "赤。", "バナナは？"),
            "system": [{"text": "短く答えて。"}],
            "inferenceConfig": {
                "temperature": 0, "topP": 0.5, "maxTokens": 16, "stopSequences": ["###"],
            },
        }
    ),
    "tools": Sent(
        body={
            "messages": [
                {"role": "user", "content": [{"text": "東京の天気は？"}]},
                {
                    "role": "assistant",
                    "content": [
                        {"toolUse": {"toolUseId": "call_1", "name": "weather", "input": WEATHER}}
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"toolResult": {"toolUseId": "call_1", "content": [{"text": "晴れ"}]}}
                    ],
                },
            ],
            "toolConfig": {
                "tools": [
                    {
                        "toolSpec": {
                            "name": "weather",
                            "description": "天気",
                            "inputSchema": {"json": TOOL["parameters"]},
                        }
                    }
                ],
                "toolChoice": {"auto": {}},
            },
        }
    ),
    "json_mode": Refused(parameter="response_format"),
    "structured": Sent(
        body={
            "messages": said(TEXT),
            "outputConfig": {
                "textFormat": {
                    "type": "json_schema",
                    "structure": {
                        "jsonSchema": {
                            "name": "color", "schema": msgspec.json.encode(SCHEMA).decode(),
                        }
                    },
                }
            },
        }
    ),
    "image": Sent(
        body={
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"text": "何色？"},
                        {"image": {"format": "png", "source": {"bytes": PNG}}},
                    ],
                }
            ]
        }
    ),
}  # fmt: skip
COMPLETED: dict[str, Sent | Refused] = {
    "plain": Sent(body={"messages": said(TEXT)}),
    "parameters": Sent(
        body={
            "messages": said("りんごは"),
            "inferenceConfig": {"temperature": 0.7, "maxTokens": 5, "stopSequences": ["。"]},
        }
    ),
}


def answer(*blocks: Mapping[str, Any], stop: str = "end_turn") -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": list(blocks)}},
        "stopReason": stop,
        "usage": COUNTED,
        "metrics": {"latencyMs": 12},
    }


TOOL_USE = {"toolUse": {"toolUseId": "tooluse_9", "name": "weather", "input": WEATHER}}
THOUGHT = {"reasoningContent": {"reasoningText": {"text": "うーん", "signature": "x"}}}
ANSWERS = (
    Answered(
        name="plain",
        body=answer({"text": ANSWER}),
        said=Said(text=ANSWER, usage=USAGE, model=MODEL),
    ),
    Answered(
        name="plain",
        kind=Kind.COMPLETIONS,
        body=answer({"text": ANSWER}),
        said=Said(text=ANSWER, usage=USAGE),
    ),
    Answered(
        name="several blocks and a thought",
        body=answer(THOUGHT, {"text": "赤"}, {"text": "です"}),
        said=Said(text="赤です", usage=USAGE),
    ),
    Answered(
        name="tool call",
        body=answer(TOOL_USE, stop="tool_use"),
        said=Said(finish_reason="tool_calls", calls=(CALL,), usage=USAGE),
    ),
    *(
        Answered(
            name=reason,
            body=answer({"text": "赤"}, stop=reason),
            said=Said(text="赤", finish_reason=finish, usage=USAGE),
        )
        for reason, finish in (
            ("max_tokens", "length"),
            ("stop_sequence", "stop"),
            ("guardrail_intervened", "content_filter"),
            ("content_filtered", "content_filter"),
        )
    ),
)


def frame(payload: bytes, **headers: str) -> bytes:
    """One message of AWS's event stream, with real checksums."""
    coded = b""
    for name, value in headers.items():
        key, text = f":{name.replace('_', '-')}".encode(), value.encode()
        coded += bytes([len(key)]) + key + b"\x07" + struct.pack(">H", len(text)) + text
    head = struct.pack(">II", 16 + len(coded) + len(payload), len(coded))
    whole = head + struct.pack(">I", crc32(head)) + coded + payload
    return whole + struct.pack(">I", crc32(whole))


def event(kind: str, **fields: Any) -> bytes:
    body = msgspec.json.encode({**fields, "p": "abcdefgh"})  # AWS pads against eavesdroppers.
    return frame(body, event_type=kind, content_type="application/json", message_type="event")


def exception(kind: str) -> bytes:
    body = msgspec.json.encode({"message": "だめ"})
    return frame(
        body, exception_type=kind, content_type="application/json", message_type="exception"
    )


def delta(index: int = 0, **of: Any) -> bytes:
    return event("contentBlockDelta", delta=of, contentBlockIndex=index)


def stopped(index: int = 0) -> bytes:
    return event("contentBlockStop", contentBlockIndex=index)


def ended(reason: str) -> bytes:
    counted = event("metadata", usage=COUNTED, metrics={"latencyMs": 12})
    return event("messageStop", stopReason=reason) + counted


BEGUN = event("messageStart", role="assistant")
PLAIN_STREAM = (
    BEGUN + delta(text=ANSWER[:3]) + delta(text=ANSWER[3:]) + stopped() + ended("end_turn")
)
STREAMS = (
    Streamed(name="plain", body=PLAIN_STREAM, said=Said(text=ANSWER, usage=USAGE)),
    Streamed(
        name="plain", kind=Kind.COMPLETIONS, body=PLAIN_STREAM, said=Said(text=ANSWER, usage=USAGE)
    ),
    Streamed(
        name="thought and tool calls",
        body=BEGUN
        + delta(reasoningContent={"text": "うーん"})
        + delta(reasoningContent={"signature": "x"})
        + stopped()
        + delta(1, text="調べます")
        + stopped(1)
        + event(
            "contentBlockStart",
            start={"toolUse": {"toolUseId": "tooluse_9", "name": "weather"}},
            contentBlockIndex=2,
        )
        + delta(2, toolUse={"input": '{"city":'})
        + delta(2, toolUse={"input": '"東京"}'})
        + stopped(2)
        + event(
            "contentBlockStart",
            start={"toolUse": {"toolUseId": "tooluse_10", "name": "now"}},
            contentBlockIndex=3,
        )
        + stopped(3)
        + ended("tool_use"),
        said=Said(
            text="調べます",
            finish_reason="tool_calls",
            calls=(CALL, Call(id="tooluse_10", name="now", arguments={})),
            usage=USAGE,
        ),
    ),
    Streamed(
        name="guardrail",
        body=BEGUN + delta(text="だめ") + stopped() + ended("guardrail_intervened"),
        said=Said(text="だめ", finish_reason="content_filter", usage=USAGE),
    ),
)
EXCEPTIONS = {
    "throttlingException": RateLimited,
    "internalServerException": Unavailable,
    "serviceUnavailableException": Unavailable,
    "modelStreamErrorException": Unavailable,
    "validationException": InvalidRequest,
    "modelTimeoutException": TimedOut,
}
DAMAGED = bytearray(PLAIN_STREAM)
DAMAGED[len(BEGUN) + 90] ^= 1
BROKEN = (
    *(
        BrokenStream(name=name, body=BEGUN + delta(text="あ") + exception(name), error=error)
        for name, error in EXCEPTIONS.items()
    ),
    BrokenStream(
        name="error without an exception",
        body=BEGUN + frame(b"", error_code="x", error_message="だめ", message_type="error"),
        error=Unavailable,
    ),
    BrokenStream(name="damaged", body=bytes(DAMAGED), error=MalformedAnswer),
    BrokenStream(name="malformed", body=BEGUN + ended("malformed_tool_use"), error=MalformedAnswer),
    BrokenStream(name="without an end", body=BEGUN + delta(text="あ"), error=MalformedAnswer),
)


def error(_status: int, explanation: str, _case: str) -> object:
    return {"message": explanation}


def named(name: str, status: int, kind: type[Any], message: str = "だめ") -> Failure:
    return Failure(
        name=name + message,
        status=status,
        body={"message": message},
        headers={"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/"},
        error=kind,
    )


FAILURES = (
    named("ThrottlingException", 429, RateLimited),
    named("ThrottlingException", 429, QuotaExhausted, "Too many tokens per day, please wait."),
    named("ServiceQuotaExceededException", 400, QuotaExhausted),
    named("ModelTimeoutException", 408, TimedOut),
    named("ModelNotReadyException", 429, RateLimited),
    named("ModelErrorException", 424, Unavailable),
    named("ResourceNotFoundException", 404, InvalidRequest),
    named("AccessDeniedException", 403, AccessDenied),
    Failure(
        name="old spelling",
        status=403,
        body={"__type": "com.amazon#UnrecognizedClientException", "Message": "だめ"},
        error=AccessDenied,
    ),
)
INVOKE = f"{HOST}/model/us.anthropic.claude-x-v1%3A0/invoke"
PASSED: dict[str, Sent | Refused] = {
    name: Sent(body={"anthropic_version": "bedrock-2023-05-31", **ask})
    for name, ask in ASKS[Kind.MESSAGES].items()
}
OWN_ANSWERS = tuple(a for a in anthropic.ANSWERS if a.kind is Kind.MESSAGES)


def framed(*events: Any) -> bytes:
    """The events of Anthropic's stream, each in a frame and in base64."""
    return b"".join(
        event("chunk", bytes=b64encode(msgspec.json.encode(e)).decode()) for e in events
    )


OWN_EVENTS = (
    anthropic.BEGUN,
    anthropic.started(0, anthropic.text("")),
    anthropic.said(ANSWER),
    anthropic.stopped(0),
    *anthropic.ended("end_turn"),
)
OWN_STREAMS = (
    Streamed(
        name="plain",
        kind=Kind.MESSAGES,
        body=framed(*OWN_EVENTS),
        said=Said(text=ANSWER, usage=anthropic.USAGE),
    ),
)
OWN_BROKEN = (
    BrokenStream(
        name="throttled",
        kind=Kind.MESSAGES,
        body=framed(*OWN_EVENTS[:3]) + exception("throttlingException"),
        error=RateLimited,
    ),
    BrokenStream(
        name="without an end",
        kind=Kind.MESSAGES,
        body=framed(*OWN_EVENTS[:-1]),
        error=MalformedAnswer,
    ),
    BrokenStream(
        name="no base64",
        kind=Kind.MESSAGES,
        body=event("chunk", bytes="?"),
        error=MalformedAnswer,
    ),
)
CONVERSE = f"{HOST}/model/us.anthropic.claude-x-v1%3A0/converse"
SIGNED = f"AWS4-HMAC-SHA256 Credential={KEY_ID}/"

BEDROCK = Vendor(
    name="bedrock",
    provider="bedrock",
    model=MODEL,
    config={
        "aws_config": {
            "aws_region": "us-east-1",
            "aws_access_key_id": KEY_ID,
            "aws_secret_access_key": SECRET,
            "aws_session_token": SESSION,
        }
    },
    urls={Kind.CHAT: CONVERSE, Kind.COMPLETIONS: CONVERSE, Kind.MESSAGES: INVOKE},
    stream_urls={
        Kind.CHAT: f"{CONVERSE}-stream",
        Kind.COMPLETIONS: f"{CONVERSE}-stream",
        Kind.MESSAGES: f"{INVOKE}-with-response-stream",
    },
    headers={
        "authorization": lambda value: value.startswith(SIGNED) and "/us-east-1/bedrock/" in value,
        "x-amz-security-token": SESSION,
        "x-amz-date": lambda value: len(value) == len("20260101T000000Z"),
    },
    asks={Kind.CHAT: ASKED, Kind.COMPLETIONS: COMPLETED, Kind.MESSAGES: PASSED},
    answers=(*ANSWERS, *OWN_ANSWERS),
    streams=(*STREAMS, *OWN_STREAMS),
    broken_streams=(*BROKEN, *OWN_BROKEN),
    secrets=(SECRET, SESSION),
    error=error,
    failures=FAILURES,
    malformed=(
        b'{"output": {"message": {"content": []}}}',
        b'{"stopReason": "end_turn"}',
        msgspec.json.encode(answer(stop="malformed_model_output")),
    ),
    refused={
        Kind.CHAT: {
            "seed": 1,
            "n": 2,
            "top_k": 3,
            "presence_penalty": 0.5,
            "frequency_penalty": 0.5,
            "logit_bias": {"1": 1},
            "logprobs": True,
            "temperature": 1.5,
            "parallel_tool_calls": False,
            "reasoning_effort": "minimal",
        }
    },
    honoured={
        Kind.CHAT: {
            "reasoning_effort": ("max", {"outputConfig": {"effort": "max"}}),
            "max_completion_tokens": (7, {"inferenceConfig": {"maxTokens": 7}}),
            "stop": ("。", {"inferenceConfig": {"stopSequences": ["。"]}}),
            "additionalModelRequestFields": (
                {"top_k": 3}, {"additionalModelRequestFields": {"top_k": 3}},
            ),
        }
    },
    thorough=True,
)  # fmt: skip


def to_embed(*texts: str) -> Sent:
    return Sent(
        body={
            "texts": list(texts),
            "input_type": "search_document",
            "embedding_types": ["float"],
            "truncate": "NONE",
        }
    )


def invoked(model: str) -> str:
    return f"{HOST}/model/{model}/invoke"


VENDORS = (
    BEDROCK,
    replace(
        BEDROCK,
        name="bedrock-bearer",
        provider="amazon-bedrock",
        config={"aws_config": {"aws_region": "us-east-1", "aws_bearer_token": BEARER}},
        headers={"authorization": f"Bearer {BEARER}"},
        secrets=(BEARER,),
        refused={},
        honoured={},
        thorough=False,
    ),
    replace(
        BEDROCK,
        name="bedrock-titan-text",
        model="amazon.titan-text-express-v1",
        urls={Kind.COMPLETIONS: invoked("amazon.titan-text-express-v1")},
        stream_urls={},
        asks={
            Kind.COMPLETIONS: {
                "plain": Sent(body={"inputText": TEXT}),
                "parameters": Sent(
                    body={
                        "inputText": "りんごは",
                        "textGenerationConfig": {
                            "temperature": 0.7, "maxTokenCount": 5, "stopSequences": ["。"],
                        },
                    }
                ),
            }
        },
        answers=(
            Answered(
                name="plain",
                kind=Kind.COMPLETIONS,
                body={
                    "inputTextTokenCount": 20,
                    "results": [
                        {"tokenCount": 9, "outputText": ANSWER, "completionReason": "FINISH"}
                    ],
                },
                said=Said(text=ANSWER, usage=Usage(input_tokens=20, output_tokens=9)),
            ),
            Answered(
                name="filtered",
                kind=Kind.COMPLETIONS,
                body={"results": [{"outputText": "", "completionReason": "CONTENT_FILTERED"}]},
                said=Said(finish_reason="content_filter"),
            ),
        ),
        streams=(),
        broken_streams=(),
        malformed=(),
        refused={Kind.COMPLETIONS: {"top_k": 3, "echo": True, "seed": 1}},
        honoured={},
        thorough=False,
    ),
    replace(
        BEDROCK,
        name="bedrock-cohere-embed",
        model="cohere.embed-v4",
        config={**BEDROCK.config, "input_type": "search_document"},
        urls={Kind.EMBEDDINGS: invoked("cohere.embed-v4")},
        stream_urls={},
        asks={Kind.EMBEDDINGS: {"one": to_embed(TEXT), "list": to_embed("赤", "青")}},
        answers=(
            Answered(
                name="plain",
                kind=Kind.EMBEDDINGS,
                body={"id": "e", "embeddings": {"float": [[0.5, -1.0], [0.25, 0.0]]}},
                headers={"X-Amzn-Bedrock-Input-Token-Count": "2"},
                said=Said(vectors=[[0.5, -1.0], [0.25, 0.0]], usage=Usage(input_tokens=2)),
            ),
            Answered(
                name="the older form",
                kind=Kind.EMBEDDINGS,
                body={"embeddings": [[0.5, -1.0], [0.25, 0.0]]},
                said=Said(vectors=[[0.5, -1.0], [0.25, 0.0]]),
            ),
        ),
        streams=(),
        broken_streams=(),
        malformed=(),
        refused={Kind.EMBEDDINGS: {"encoding_format": "hex", "normalize": True}},
        honoured={Kind.EMBEDDINGS: {"dimensions": (256, {"output_dimension": 256})}},
        thorough=False,
    ),
)  # fmt: skip
