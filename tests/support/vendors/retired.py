"""PaLM, MosaicML and Jurassic-2, after the documentation they had while they were there."""

from typing import Any

from gateway.errors import QuotaExhausted, RateLimited
from tests.support.vendors.canon import (
    ANSWER,
    EMBED_LIST,
    PROMPT_WITH,
    TEXT,
    TURNS,
)
from tests.support.vendors.contract import (
    Answered,
    Failure,
    Kind,
    Refused,
    Said,
    Sent,
    Vendor,
)

KEY = "old-secret-0123456789"
SAID = Said(text=ANSWER, finish_reason=None)
VECTORS = [[0.25, -1.0], [0.5, 2.0]]
THREE = (Kind.CHAT, Kind.COMPLETIONS, Kind.EMBEDDINGS)
ONLY_TEXT: dict[str, Sent | Refused] = {
    "tools": Refused(parameter="messages"),
    "json_mode": Refused(parameter="response_format"),
    "structured": Refused(parameter="response_format"),
    "image": Refused(parameter="messages"),
}


def google_error(status: int, message: str, case: str) -> object:
    return {"error": {"code": status, "message": message, "status": case.upper()}}


def mosaic_error(_status: int, message: str, _case: str) -> object:
    return {"message": message}


def ai21_error(_status: int, message: str, _case: str) -> object:
    return {"detail": message}


def answers(*bodies: tuple[Kind, Any]) -> list[Answered]:
    said = dict.fromkeys(THREE, SAID) | {Kind.EMBEDDINGS: Said(finish_reason=None, vectors=VECTORS)}
    return [Answered(name="plain", kind=k, body=body, said=said[k]) for k, body in bodies]


LLAMA = (
    "<s>[INST] <<SYS>> 短く答えて。 <</SYS>> りんごは？ [/INST] 赤。 </s>"
    "<s>[INST] バナナは？ [/INST]"
)

PALM = "http://old/v1beta3/models/chat-bison-001"
MOSAIC = "http://old/llama2-70b-chat/v1/predict"

VENDORS = (
    Vendor(
        name="palm",
        provider="palm",
        model="chat-bison-001",
        config={"palm_api_key": KEY, "palm_api_base": "http://old/v1beta3"},
        urls={
            Kind.CHAT: f"{PALM}:generateMessage",
            Kind.COMPLETIONS: f"{PALM}:generateText",
            Kind.EMBEDDINGS: f"{PALM}:batchEmbedText",
        },
        headers={"x-goog-api-key": KEY},
        secrets=(KEY,),
        asks={
            Kind.CHAT: {
                "plain": Sent(body={"prompt": {"messages": [{"author": "user", "content": TEXT}]}}),
                "turns": Refused(parameter="max_tokens"),
                **ONLY_TEXT,
            },
            Kind.COMPLETIONS: {
                "plain": Sent(body={"prompt": {"text": TEXT}}),
                "parameters": Sent(
                    body={
                        "prompt": {"text": PROMPT_WITH["prompt"]},
                        "temperature": 0.7,
                        "maxOutputTokens": 5,
                        "stopSequences": ["。"],
                    }
                ),
            },
            Kind.EMBEDDINGS: {
                "one": Sent(body={"texts": [TEXT]}),
                "list": Sent(body={"texts": EMBED_LIST["input"]}),
            },
        },
        answers=[
            *answers(
                (Kind.CHAT, {"candidates": [{"author": "1", "content": ANSWER}], "messages": []}),
                (Kind.COMPLETIONS, {"candidates": [{"output": ANSWER, "safetyRatings": []}]}),
                (Kind.EMBEDDINGS, {"embeddings": [{"value": vector} for vector in VECTORS]}),
            ),
            Answered(
                name="filtered",
                body={"filters": [{"reason": "SAFETY"}], "messages": []},
                said=Said(finish_reason="content_filter"),
            ),
        ],
        error=google_error,
        failures=[
            Failure(
                name="rate limit",
                status=429,
                body=google_error(429, "slow", "resource_exhausted"),
                error=RateLimited,
            )
        ],
        refused={
            Kind.CHAT: {"temperature": 1.5, "n": 2, "stop": ["x"], "seed": 1, "tools": [{}]},
            Kind.COMPLETIONS: {"temperature": 1.5, "echo": True},
        },
        honoured={
            Kind.CHAT: {
                "temperature": (0.8, {"temperature": 0.8}),  # Not halved.
                "messages": (
                    [*TURNS["messages"][:2]],
                    {
                        "prompt": {
                            "context": "短く答えて。",
                            "messages": [{"author": "user", "content": "りんごは？"}],
                        }
                    },
                ),
            }
        },
        thorough=True,
    ),
    Vendor(
        name="mosaicml",
        provider="mosaicml",
        model="llama2-70b-chat",
        config={"mosaicml_api_key": KEY, "mosaicml_api_base": "http://old"},
        urls=dict.fromkeys(THREE, MOSAIC),
        headers={"authorization": KEY},
        secrets=(KEY,),
        asks={
            Kind.CHAT: {
                "plain": Sent(body={"inputs": [f"<s>[INST] {TEXT} [/INST]"], "parameters": {}}),
                "turns": Refused(parameter="stop"),
                **ONLY_TEXT,
            },
            Kind.COMPLETIONS: {
                "plain": Sent(body={"inputs": [TEXT], "parameters": {}}),
                "parameters": Refused(parameter="stop"),
            },
            Kind.EMBEDDINGS: {
                "one": Sent(body={"inputs": [TEXT]}),
                "list": Sent(body={"inputs": EMBED_LIST["input"]}),
            },
        },
        answers=answers(
            (Kind.CHAT, {"outputs": [ANSWER]}),
            (Kind.COMPLETIONS, {"outputs": [ANSWER]}),
            (Kind.EMBEDDINGS, {"outputs": VECTORS}),
        ),
        error=mosaic_error,
        refused={Kind.CHAT: {"n": 2, "seed": 1}},
        honoured={
            Kind.CHAT: {
                "max_tokens": (5, {"parameters": {"max_new_tokens": 5}}),
                "temperature": (1.5, {"parameters": {"temperature": 1.5}}),
                "messages": (TURNS["messages"], {"inputs": [LLAMA]}),
            }
        },
        thorough=True,
    ),
    Vendor(
        name="jurassic",
        provider="ai21labs",
        model="j2-mid",
        config={"ai21labs_api_key": KEY},
        urls={Kind.COMPLETIONS: "https://api.ai21.com/studio/v1/j2-mid/complete"},
        headers={"authorization": f"Bearer {KEY}"},
        secrets=(KEY,),
        asks={
            Kind.COMPLETIONS: {
                "plain": Sent(body={"prompt": TEXT}),
                "parameters": Sent(
                    body={
                        "prompt": PROMPT_WITH["prompt"],
                        "temperature": 0.7,
                        "maxTokens": 5,
                        "stopSequences": ["。"],
                    }
                ),
            }
        },
        answers=[
            Answered(
                name="plain",
                kind=Kind.COMPLETIONS,
                body={
                    "id": "1",
                    "completions": [
                        {"data": {"text": ANSWER}, "finishReason": {"reason": "endoftext"}}
                    ],
                },
                said=Said(text=ANSWER),
            )
        ],
        error=ai21_error,
        failures=[
            Failure(name="quota", status=402, body={"detail": "no credits"}, error=QuotaExhausted)
        ],
        refused={Kind.COMPLETIONS: {"n": 2, "echo": True, "presence_penalty": 0.5}},
        thorough=True,
    ),
)
