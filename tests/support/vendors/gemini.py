"""Google's Gemini, after its reference: at Google AI with a key, on Vertex AI with a token."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from gateway.errors import (
    AccessDenied,
    ContentRefused,
    InvalidRequest,
    MalformedAnswer,
    QuotaExhausted,
    RateLimited,
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

KEY = "AIza-secret-0123456789"
TOKEN = "ya29.secret-0123456789"
COUNTED = {
    "promptTokenCount": 20,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 4,
    "cachedContentTokenCount": 16,
    "totalTokenCount": 29,
}
USAGE = Usage(input_tokens=20, output_tokens=9, cached_input_tokens=16, reasoning_tokens=4)
WEATHER = {"city": "東京"}
CALL = Call(id=None, name="weather", arguments=WEATHER)
TOOL = ASKS[Kind.CHAT]["tools"]["tools"][0]["function"]


def contents(*texts: str) -> list[dict[str, Any]]:
    roles = ("user", "model")
    return [{"role": roles[i % 2], "parts": [{"text": t}]} for i, t in enumerate(texts)]


def asked(*, ids: bool) -> dict[str, Sent | Refused]:
    named = {"id": "call_1"} if ids else {}
    return {
        "plain": Sent(body={"contents": contents(TEXT)}),
        "turns": Sent(
            body={
                "contents": contents("りんごは？", "赤。", "バナナは？"),
                "systemInstruction": {"parts": [{"text": "短く答えて。"}]},
                "generationConfig": {
                    "temperature": 0, "topP": 0.5, "maxOutputTokens": 16, "stopSequences": ["###"],
                },
            }
        ),
        "tools": Sent(
            body={
                "contents": [
                    {"role": "user", "parts": [{"text": "東京の天気は？"}]},
                    {
                        "role": "model",
                        "parts": [{"functionCall": {"name": "weather", "args": WEATHER, **named}}],
                    },
                    {
                        "role": "user",
                        "parts": [
                            {
                                "functionResponse": {
                                    "name": "weather", "response": {"output": "晴れ"}, **named,
                                }
                            }
                        ],
                    },
                ],
                "tools": [
                    {
                        "functionDeclarations": [
                            {
                                "name": "weather",
                                "description": "天気",
                                "parametersJsonSchema": TOOL["parameters"],
                            }
                        ]
                    }
                ],
                "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
            }
        ),
        "json_mode": Sent(
            body={
                "contents": contents(TEXT),
                "generationConfig": {"responseMimeType": "application/json"},
            }
        ),
        "structured": Sent(
            body={
                "contents": contents(TEXT),
                "generationConfig": {
                    "responseMimeType": "application/json", "responseJsonSchema": SCHEMA,
                },
            }
        ),
        "image": Sent(
            body={
                "contents": [
                    {
                        "role": "user",
                        "parts": [
                            {"text": "何色？"},
                            {"inlineData": {"mimeType": "image/png", "data": PNG}},
                        ],
                    }
                ]
            }
        ),
    }  # fmt: skip


COMPLETED: dict[str, Sent | Refused] = {
    "plain": Sent(body={"contents": contents(TEXT)}),
    "parameters": Sent(
        body={
            "contents": contents("りんごは"),
            "generationConfig": {
                "temperature": 0.7, "maxOutputTokens": 5, "stopSequences": ["。"],
            },
        }
    ),
}  # fmt: skip


def to_embed(*texts: str) -> Sent:
    requests = [{"model": "models/m", "content": {"parts": [{"text": text}]}} for text in texts]
    return Sent(body={"requests": requests})


def to_predict(*texts: str) -> Sent:
    return Sent(
        body={
            "instances": [{"content": text} for text in texts],
            "parameters": {"autoTruncate": False},
        }
    )


def answer(
    *parts: Mapping[str, Any], finish: str | None = "STOP", usage: object = COUNTED, **more: Any
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate | more],
        "usageMetadata": usage,
        "modelVersion": "gemini-2026",
        "responseId": "r-1",
    }


CALLED = {"functionCall": {"name": "weather", "args": WEATHER}, "thoughtSignature": "c2ln"}
ANSWERS = (
    Answered(
        name="plain",
        body=answer({"text": ANSWER}),
        said=Said(text=ANSWER, usage=USAGE, model="gemini-2026"),
    ),
    Answered(
        name="plain",
        kind=Kind.COMPLETIONS,
        body=answer({"text": ANSWER}),
        said=Said(text=ANSWER, usage=USAGE),
    ),
    Answered(
        name="several parts and a thought",
        body=answer({"text": "うーん", "thought": True}, {"text": "赤"}, {"text": "です"}),
        said=Said(text="赤です", usage=USAGE),
    ),
    Answered(
        name="cut off while it thought",
        body={
            "candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}],
            "usageMetadata": {"promptTokenCount": 20, "thoughtsTokenCount": 4},
        },
        said=Said(
            finish_reason="length",
            usage=Usage(input_tokens=20, output_tokens=4, reasoning_tokens=4),
        ),
    ),
    *(
        Answered(
            name=f"filtered: {reason}",
            body={"candidates": [{"finishReason": reason}], "usageMetadata": COUNTED},
            said=Said(finish_reason="content_filter", usage=USAGE),
        )
        for reason in ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII")
    ),
    Answered(
        name="tool calls",
        body=answer(CALLED, {"functionCall": {"name": "now", "id": "g-2"}}),
        said=Said(
            finish_reason="tool_calls",
            calls=(CALL, Call(id="g-2", name="now", arguments={})),
            usage=USAGE,
        ),
    ),
    Answered(
        name="without a count",
        body={"candidates": answer({"text": "赤"})["candidates"]},
        said=Said(text="赤"),
    ),
)
EMBEDDED = Answered(
    name="plain",
    kind=Kind.EMBEDDINGS,
    body={"embeddings": [{"values": [0.5, -1.0]}, {"values": [0.25, 0.0]}]},
    said=Said(vectors=[[0.5, -1.0], [0.25, 0.0]], model="m"),
    ask=ASKS[Kind.EMBEDDINGS]["list"],
)
PREDICTED = Answered(
    name="plain",
    kind=Kind.EMBEDDINGS,
    body={
        "predictions": [
            {"embeddings": {"values": v, "statistics": {"token_count": 2, "truncated": False}}}
            for v in ([0.5, -1.0], [0.25, 0.0])
        ]
    },
    said=Said(vectors=[[0.5, -1.0], [0.25, 0.0]], usage=Usage(input_tokens=4), model="m"),
)


def frames(*events: object) -> bytes:
    """Events as Google ends them: with carriage returns."""
    return b"".join(b"data: " + msgspec.json.encode(event) + b"\r\n\r\n" for event in events)


EARLY = {"promptTokenCount": 20}
PLAIN_STREAM = frames(
    answer({"text": "うーん", "thought": True}, finish=None, usage=EARLY),
    answer({"text": ANSWER[:3]}, finish=None, usage=EARLY),
    answer({"text": ANSWER[3:]}),
)
STREAMS = (
    Streamed(name="plain", body=PLAIN_STREAM, said=Said(text=ANSWER, usage=USAGE)),
    Streamed(
        name="plain", kind=Kind.COMPLETIONS, body=PLAIN_STREAM, said=Said(text=ANSWER, usage=USAGE)
    ),
    Streamed(
        name="tool calls",
        body=frames(
            answer({"text": "調べます"}, finish=None, usage=EARLY),
            answer(CALLED, finish=None, usage=EARLY),
            answer({"functionCall": {"name": "now"}}, finish=None, usage=EARLY),
            answer({"text": ""}),
        ),
        said=Said(
            text="調べます",
            finish_reason="tool_calls",
            calls=(CALL, Call(id=None, name="now", arguments={})),
            usage=USAGE,
        ),
    ),
    Streamed(
        name="filtered",
        body=frames(answer({"text": "あ"}, finish=None), answer(finish="SAFETY")),
        said=Said(text="あ", finish_reason="content_filter", usage=USAGE),
    ),
)
BLOCKED = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": EARLY}


def error(status: int, explanation: str, _case: str) -> object:
    words = {
        400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED",
        404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
    }  # fmt: skip
    inner = {"code": status, "message": explanation, "status": words.get(status, "INTERNAL")}
    return {"error": inner}


def exhausted(quota: str) -> object:
    body: Any = error(429, "You exceeded your current quota.", "")
    body["error"]["details"] = [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaMetric": "generate_content", "quotaId": quota}],
        },
        {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"url": "https://x"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36.5s"},
    ]
    return body


def wrong_key() -> object:
    body: Any = error(400, "API key not valid.", "")
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    body["error"]["details"] = [{"@type": kind, "reason": "API_KEY_INVALID"}]
    return body


BROKEN = (
    BrokenStream(
        name="overloaded",
        body=frames(answer({"text": "あ"}, finish=None), error(503, "だめ", "")),
        error=Unavailable,
    ),
    BrokenStream(
        name="rate", body=frames(answer({"text": "あ"}, finish=None), error(429, "だめ", "")),
        error=RateLimited,
    ),
    BrokenStream(name="blocked", body=frames(BLOCKED), error=ContentRefused),
    BrokenStream(
        name="malformed call",
        body=frames(answer(finish="MALFORMED_FUNCTION_CALL")),
        error=MalformedAnswer,
    ),
    BrokenStream(
        name="without an end",
        body=frames(answer({"text": "あ"}, finish=None)),
        error=MalformedAnswer,
    ),
)  # fmt: skip

AT_GOOGLE = "https://generativelanguage.googleapis.com/v1beta/models/m:"
ON_VERTEX = (
    "https://us-central1-aiplatform.googleapis.com/v1/projects/p-1/locations/us-central1"
    "/publishers/google/models/m:"
)


def urls(prefix: str, embedding: str) -> dict[Kind, str]:
    generate = prefix + "generateContent"
    return {
        Kind.CHAT: generate, Kind.COMPLETIONS: generate, Kind.EMBEDDINGS: prefix + embedding,
    }  # fmt: skip


def stream_urls(prefix: str) -> dict[Kind, str]:
    stream = prefix + "streamGenerateContent?alt=sse"
    return {Kind.CHAT: stream, Kind.COMPLETIONS: stream}


def at(url: str) -> dict[str, Any]:
    """A picture that is to be fetched."""
    return {"type": "image_url", "image_url": {"url": url}}


def fetched(media_type: str, url: str) -> dict[str, Any]:
    return {"fileData": {"mimeType": media_type, "fileUri": url}}


GEMINI = Vendor(
    name="gemini",
    provider="gemini",
    config={"gemini_api_key": KEY},
    urls=urls(AT_GOOGLE, "batchEmbedContents"),
    stream_urls=stream_urls(AT_GOOGLE),
    headers={"x-goog-api-key": KEY},
    asks={
        Kind.CHAT: asked(ids=True),
        Kind.COMPLETIONS: COMPLETED,
        Kind.EMBEDDINGS: {"one": to_embed(TEXT), "list": to_embed("赤", "青")},
    },
    answers=(*ANSWERS, EMBEDDED),
    streams=STREAMS,
    broken_streams=BROKEN,
    secrets=(KEY,),
    error=error,
    failures=(
        Failure(name="wrong key", status=400, body=wrong_key(), error=AccessDenied),
        Failure(
            name="rate",
            status=429,
            body=exhausted("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
            error=RateLimited,
            retry_after=36.5,
        ),
        Failure(
            name="used up for today",
            status=429,
            body=exhausted("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
            error=QuotaExhausted,
        ),
        Failure(
            name="in a list, as streams have it",
            status=400,
            body=[error(400, "だめ", "")],
            error=InvalidRequest,
        ),
    ),
    malformed=(
        b'{"usageMetadata": {}}',
        b'{"candidates": []}',
        b'{"candidates": [{"content": {"parts": [{"text": "a"}]}}]}',
        msgspec.json.encode(answer(finish="MALFORMED_FUNCTION_CALL")),
    ),
    refused={
        Kind.CHAT: {
            "logit_bias": {"1": 1},
            "top_logprobs": 21,
            "parallel_tool_calls": False,
            "reasoning_effort": "none",
        },
        Kind.EMBEDDINGS: {"encoding_format": "hex"},
    },
    honoured={
        Kind.CHAT: {
            "seed": (7, {"generationConfig": {"seed": 7}}),
            "reasoning_effort": (
                "low",
                {"generationConfig": {"thinkingConfig": {"thinkingLevel": "low"}}},
            ),
            "messages": (
                [{"role": "user", "content": [at("https://x/り.png?v=2"), at("gs://b/a.jpg")]}],
                {
                    "contents": [
                        {
                            "role": "user",
                            "parts": [
                                fetched("image/png", "https://x/り.png?v=2"),
                                fetched("image/jpeg", "gs://b/a.jpg"),
                            ],
                        }
                    ]
                },
            ),
            "top_k": (3, {"generationConfig": {"topK": 3}}),
            "temperature": (2, {"generationConfig": {"temperature": 2}}),
            "presence_penalty": (-0.5, {"generationConfig": {"presencePenalty": -0.5}}),
            "frequency_penalty": (0.5, {"generationConfig": {"frequencyPenalty": 0.5}}),
            "max_completion_tokens": (7, {"generationConfig": {"maxOutputTokens": 7}}),
            "stop": ("。", {"generationConfig": {"stopSequences": ["。"]}}),
        },
        Kind.EMBEDDINGS: {"encoding_format": ("base64", {})},
    },
    thorough=True,
)
ON_CLOUD = {"vertex_project": "p-1", "vertex_access_token": TOKEN}
CLAUDE = (
    "https://aiplatform.googleapis.com/v1/projects/p-1/locations/global"
    "/publishers/anthropic/models/claude-x@20260101:"
)


SPOKEN = (Kind.CHAT, Kind.COMPLETIONS, Kind.MESSAGES)


def on_vertex(sent: Sent | Refused) -> Sent | Refused:
    """A Messages body as Vertex wants it."""
    if isinstance(sent, Refused):
        return sent
    inner = {key: value for key, value in sent.body.items() if key != "model"}
    return Sent(body={**inner, "anthropic_version": "vertex-2023-10-16"})


VENDORS = (
    GEMINI,
    replace(
        GEMINI,
        name="vertex-gemini",
        provider="vertex_ai",
        config={**ON_CLOUD, "vertex_location": "us-central1"},
        urls=urls(ON_VERTEX, "predict"),
        stream_urls=stream_urls(ON_VERTEX),
        headers={"authorization": f"Bearer {TOKEN}"},
        asks={
            Kind.CHAT: asked(ids=False),
            Kind.COMPLETIONS: COMPLETED,
            Kind.EMBEDDINGS: {"one": to_predict(TEXT), "list": to_predict("赤", "青")},
        },
        answers=(*ANSWERS, PREDICTED),
        secrets=(TOKEN,),
        honoured={
            Kind.EMBEDDINGS: {
                "dimensions": (256, {"parameters": {"outputDimensionality": 256}}),
                "auto_truncate": (True, {"parameters": {"autoTruncate": True}}),
            }
        },
        thorough=False,
    ),
    replace(
        anthropic.VENDORS[0],
        name="vertex-claude",
        provider="vertex_ai",
        model="claude-x@20260101",
        config={**ON_CLOUD, "max_tokens": 64},
        urls=dict.fromkeys(SPOKEN, CLAUDE + "rawPredict"),
        stream_urls=dict.fromkeys(SPOKEN, CLAUDE + "streamRawPredict"),
        headers={"authorization": f"Bearer {TOKEN}"},
        asks={
            kind: {name: on_vertex(sent) for name, sent in asks.items()}
            for kind, asks in anthropic.VENDORS[0].asks.items()
        },
        secrets=(TOKEN,),
        thorough=False,
    ),
)  # fmt: skip
