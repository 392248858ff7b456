"""Hugging Face Text Generation Inference 3.3, after its router's API: chat, and generation."""

from typing import Any

import msgspec

from gateway.errors import (
    InvalidRequest,
    MalformedAnswer,
    RateLimited,
    Unavailable,
)
from gateway.types import Usage
from tests.support.vendors.canon import (
    ANSWER,
    IMAGE,
    PLAIN,
    PROMPT_WITH,
    SCHEMA,
    TEXT,
    TOOLS,
    TURNS,
)
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

KEY = "hf-secret-0123456789"
HEAD = {"id": "", "created": 1, "model": "org/model", "system_fingerprint": "3.3.7-native"}
COUNTED = {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29}
USAGE = Usage(input_tokens=20, output_tokens=9)
STOPPING: dict[str, Any] = {**PLAIN, "stop": ["###", "#END#"]}
STOPPING_TEXT: dict[str, Any] = {"prompt": "q", "stop": ["###", "#END#"]}


def sent(**body: object) -> Sent:
    return Sent(body={"model": "tgi", "stream": False, **body})


def completion(content: str | None, reason: str = "stop", **message: object) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, **message}
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": reason}
    return {**HEAD, "object": "chat.completion", "choices": [choice], "usage": COUNTED}


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    said = {"role": "assistant", **delta}
    choice = {"index": 0, "delta": said, "logprobs": None, "finish_reason": reason}
    return {**HEAD, "object": "chat.completion.chunk", "choices": [choice], "usage": None}


def chat_frames(*events: object, done: bool = True) -> bytes:
    body = b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events)
    return body + (b"data: [DONE]\n\n" if done else b"")


USAGE_CHUNK = {**HEAD, "object": "chat.completion.chunk", "choices": [], "usage": COUNTED}


def generated(text: str, reason: str = "eos_token") -> list[dict[str, Any]]:
    details = {"finish_reason": reason, "generated_tokens": 9, "seed": None}
    return [{"generated_text": text, "details": details | {"prefill": [], "tokens": []}}]


def token(text: str, *, special: bool = False, end: str | None = None) -> dict[str, Any]:
    details = {"finish_reason": end, "generated_tokens": 9, "seed": None, "input_length": 20}
    return {
        "index": 1,
        "token": {"id": 1, "text": text, "logprob": -0.1, "special": special},
        "generated_text": None if end is None else "all",
        "details": None if end is None else details,
    }


def native_frames(*events: object) -> bytes:
    """Without a blank after the colon, with comments between, and without `[DONE]`."""
    return b":\n\n".join(b"data:" + msgspec.json.encode(event) + b"\n\n" for event in events)


def native(prompt: str, **parameters: object) -> Sent:
    given = {"details": True, **parameters}
    return Sent(body={"inputs": prompt, "parameters": given, "stream": False})


def error(_status: int, message: str, case: str) -> object:
    return {"error": message, "error_type": case}


WEATHER = {"name": "weather", "arguments": '{"city":"東京"}'}
HEADERS = {"x-prompt-tokens": "20", "x-generated-tokens": "9", "x-queue-time": "3"}
CHAT_TEXT = "http://tgi/v1/chat/completions"

VENDORS = (
    Vendor(
        name="tgi",
        provider="huggingface-text-generation-inference",
        config={"hf_server_url": "http://tgi/", "api_key": KEY},
        urls={Kind.CHAT: CHAT_TEXT, Kind.COMPLETIONS: "http://tgi"},
        headers={"authorization": f"Bearer {KEY}"},
        secrets=(KEY,),
        asks={
            Kind.CHAT: {
                "plain": sent(**PLAIN),
                "turns": sent(**TURNS),
                "tools": sent(**TOOLS),
                "json_mode": Refused(parameter="response_format"),
                "structured": sent(**PLAIN, response_format={"type": "json", "value": SCHEMA}),
                "image": sent(**IMAGE),
            },
            Kind.COMPLETIONS: {
                "plain": native(TEXT),
                "parameters": native(
                    str(PROMPT_WITH["prompt"]), temperature=0.7, max_new_tokens=5, stop=["。"]
                ),
            },
        },
        answers=(
            Answered(
                name="plain",
                body=completion(ANSWER),
                headers=HEADERS,
                said=Said(text=ANSWER, usage=USAGE, model="org/model"),
            ),
            Answered(
                name="cut off",
                body=completion("赤", "length"),
                said=Said(text="赤", finish_reason="length", usage=USAGE),
            ),
            Answered(
                name="stopped by a sequence, which TGI leaves there",
                ask=STOPPING,
                body=completion(ANSWER + "###", "stop_sequence"),
                said=Said(text=ANSWER, usage=USAGE),
            ),
            Answered(
                name="tool call",
                body=completion(
                    None, tool_calls=[{"id": "0", "type": "function", "function": WEATHER}]
                ),
                said=Said(
                    finish_reason="tool_calls",
                    calls=(Call(id="0", name="weather", arguments={"city": "東京"}),),
                    usage=USAGE,
                ),
            ),
            Answered(
                name="two tool calls of one id, arguments as objects",
                body=completion(
                    None,
                    tool_calls=[
                        {
                            "id": "0",
                            "type": "function",
                            "function": {"name": name, "arguments": {"x": 1}},
                        }
                        for name in ("a", "b")
                    ],
                ),
                said=Said(
                    finish_reason="tool_calls",
                    calls=(
                        Call(id="0", name="a", arguments={"x": 1}),
                        Call(id=None, name="b", arguments={"x": 1}),
                    ),
                    usage=USAGE,
                ),
            ),
            Answered(
                name="plain",
                kind=Kind.COMPLETIONS,
                body=generated(ANSWER),
                headers=HEADERS,
                said=Said(text=ANSWER, usage=USAGE),
            ),
            Answered(
                name="without the header that counts the prompt",
                kind=Kind.COMPLETIONS,
                body=generated(ANSWER, "length"),
                said=Said(text=ANSWER, finish_reason="length", usage=Usage(output_tokens=9)),
            ),
            Answered(
                name="stopped by a sequence",
                kind=Kind.COMPLETIONS,
                ask=STOPPING_TEXT,
                body=generated(ANSWER + "#END#", "stop_sequence"),
                headers=HEADERS,
                said=Said(text=ANSWER, usage=USAGE),
            ),
        ),
        streams=(
            Streamed(
                name="text",
                body=chat_frames(
                    chunk({"content": ANSWER[:7]}),
                    chunk({"content": ANSWER[7:]}),
                    chunk({"content": ""}, "stop"),
                    USAGE_CHUNK,
                ),
                said=Said(text=ANSWER, usage=USAGE),
            ),
            Streamed(
                name="a stop sequence in pieces, and what only looked like one",
                ask=STOPPING,
                body=chat_frames(
                    chunk({"content": f"##{ANSWER}#"}),
                    chunk({"content": "EN?#E"}),
                    chunk({"content": "ND"}),
                    chunk({"content": "#"}, "stop_sequence"),
                    USAGE_CHUNK,
                ),
                said=Said(text=f"##{ANSWER}#EN?", usage=USAGE),
            ),
            Streamed(
                name="what looked like a stop sequence until the end",
                ask=STOPPING,
                body=chat_frames(
                    chunk({"content": ANSWER}), chunk({"content": "##"}, "length"), USAGE_CHUNK
                ),
                said=Said(text=f"{ANSWER}##", finish_reason="length", usage=USAGE),
            ),
            Streamed(
                name="tool call",
                body=chat_frames(
                    chunk(
                        {
                            "tool_calls": [
                                {
                                    "index": 0,
                                    "id": "",
                                    "type": "function",
                                    "function": {"name": "weather", "arguments": '{"city":'},
                                }
                            ]
                        }
                    ),
                    chunk(
                        {
                            "tool_calls": [
                                {
                                    "index": 0,
                                    "id": "",
                                    "type": "function",
                                    "function": {"name": None, "arguments": '"東京"}'},
                                }
                            ]
                        }
                    ),
                    chunk({"content": ""}, "stop"),
                    USAGE_CHUNK,
                ),
                said=Said(
                    finish_reason="tool_calls",
                    calls=(Call(id=None, name="weather", arguments={"city": "東京"}),),
                    usage=USAGE,
                ),
            ),
            Streamed(
                name="text",
                kind=Kind.COMPLETIONS,
                body=native_frames(
                    token(ANSWER[:4]),
                    token(ANSWER[4:]),
                    token("</s>", special=True, end="eos_token"),
                ),
                said=Said(text=ANSWER, usage=USAGE),
            ),
            Streamed(
                name="a stop sequence in pieces",
                kind=Kind.COMPLETIONS,
                ask=STOPPING_TEXT,
                body=native_frames(
                    token(ANSWER), token("#"), token("##", end="stop_sequence")
                ),
                said=Said(text=ANSWER, usage=USAGE),
            ),
        ),
        broken_streams=(
            BrokenStream(name="nothing", body=b"", error=MalformedAnswer),
            BrokenStream(
                name="no end",
                body=chat_frames(chunk({"content": "赤"}), done=False),
                error=MalformedAnswer,
            ),
            BrokenStream(
                name="no JSON",
                body=chat_frames(chunk({"content": "赤"}), done=False) + b"data: {\n\n",
                error=MalformedAnswer,
            ),
            BrokenStream(
                name="overloaded, which its chat stream calls 422",
                body=chat_frames(
                    {"error": {"message": "Model is overloaded", "http_status_code": 422}}
                ),
                error=RateLimited,
            ),
            BrokenStream(
                name="invalid",
                body=chat_frames(
                    {
                        "error": {
                            "message": "Input validation error: too long",
                            "http_status_code": 422,
                        }
                    }
                ),
                error=InvalidRequest,
            ),
            BrokenStream(
                name="overloaded",
                kind=Kind.COMPLETIONS,
                body=native_frames({"error": "Model is overloaded", "error_type": "overloaded"}),
                error=RateLimited,
            ),
            BrokenStream(
                name="failed generation",
                kind=Kind.COMPLETIONS,
                body=native_frames(
                    token("赤"), {"error": "Request failed", "error_type": "generation"}
                ),
                error=Unavailable,
            ),
            BrokenStream(
                name="no end",
                kind=Kind.COMPLETIONS,
                body=native_frames(token("赤")),
                error=MalformedAnswer,
            ),
        ),
        error=error,
        failures=(
            Failure(
                name="overloaded",
                status=429,
                body={"error": "Model is overloaded", "error_type": "overloaded"},
                error=RateLimited,
            ),
            Failure(
                name="failed generation",
                status=424,
                body={"error": "Request failed during generation", "error_type": "generation"},
                error=Unavailable,
            ),
            Failure(
                name="plain text", status=422, body=b"Failed to deserialize", error=InvalidRequest
            ),
            Failure(name="wrong media type", status=415, body=b"", error=InvalidRequest),
        ),
        refused={
            Kind.CHAT: {
                "n": 2, "presence_penalty": 0.5, "logit_bias": {"1": 2}, "top_k": 4,
                "parallel_tool_calls": False, "reasoning_effort": "low", "made_up": 1,
            },
            Kind.COMPLETIONS: {
                "n": 2, "best_of": 2, "echo": True, "suffix": "x", "logprobs": 1,
                "presence_penalty": 0.5,
            },
        },
        honoured={
            Kind.CHAT: {
                "max_completion_tokens": (9, {"max_tokens": 9}),
                "seed": (0, {"seed": 0}),
                "temperature": (0.7, {"temperature": 0.7}),
            },
            Kind.COMPLETIONS: {
                "temperature": (0.7, {"parameters": {"temperature": 0.7}}),
                "typical_p": (0.5, {"parameters": {"typical_p": 0.5}}),
                "grammar": (
                    {"type": "regex", "value": "[0-9]+"},
                    {"parameters": {"grammar": {"type": "regex", "value": "[0-9]+"}}},
                ),
                "response_format": (
                    {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
                    {"parameters": {"grammar": {"type": "json", "value": SCHEMA}}},
                ),
            },
        },
        thorough=True,
    ),
)  # fmt: skip
