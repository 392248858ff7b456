"""The vendors that speak OpenAI's protocol, each with its address, its key and its departures."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.errors import (
    ContentRefused,
    InvalidRequest,
    QuotaExhausted,
    RateLimited,
    Unavailable,
)
from tests.support.vendors import openai
from tests.support.vendors.canon import ANSWER, ASKS, PROMPT_WITH, TOOLS, TURNS
from tests.support.vendors.contract import (
    Answered,
    Failure,
    Kind,
    Refused,
    Said,
    Sent,
    Streamed,
    Vendor,
)
from tests.support.vendors.openai import HEAD, KEY, PATHS, chunk, completion, frames

CHAT = (Kind.CHAT,)
CHAT_TEXT = (Kind.CHAT, Kind.COMPLETIONS)
THREE = (Kind.CHAT, Kind.COMPLETIONS, Kind.EMBEDDINGS)
FOUR = (*THREE, Kind.RESPONSES)
BEARER = {"authorization": f"Bearer {KEY}"}

ANSWERS = {
    Kind.CHAT: openai.CHAT_ANSWERS,
    Kind.COMPLETIONS: openai.TEXT_ANSWERS,
    Kind.EMBEDDINGS: openai.EMBEDDING_ANSWERS,
    Kind.RESPONSES: openai.RESPONSES_ANSWERS,
}
STREAMS = {
    Kind.CHAT: openai.CHAT_STREAMS,
    Kind.COMPLETIONS: openai.TEXT_STREAMS,
    Kind.EMBEDDINGS: (),
    Kind.RESPONSES: openai.RESPONSES_STREAMS,
}


def row(name: str, base_url: str, kinds: tuple[Kind, ...], **more: Any) -> Vendor:
    """A vendor that does as OpenAI does, but for what `more` says."""
    given: dict[str, Any] = {
        "provider": name,
        "config": {"api_key": KEY},
        "urls": {kind: base_url + PATHS[kind] for kind in kinds},
        "headers": BEARER,
        "asks": openai.sent_as_asked(kinds, changes=more.pop("changes", None)),
        "answers": [a for kind in kinds for a in ANSWERS[kind]] + list(more.pop("answers", ())),
        "streams": [s for kind in kinds for s in STREAMS[kind]] + list(more.pop("streams", ())),
        "broken_streams": openai.BROKEN,
    }
    return Vendor(name=name, **(given | more))


def renamed(**names: str) -> dict[tuple[Kind, str], Sent | Refused]:
    """The canonical turns with parameters under other names."""
    body = {names.get(key, key): value for key, value in TURNS.items()}
    return {(Kind.CHAT, "turns"): Sent(body={**body, "model": "m"})}


def without_turns(parameter: str) -> dict[tuple[Kind, str], Sent | Refused]:
    return {(Kind.CHAT, "turns"): Refused(parameter=parameter)}


def refused(*names: str, **values: object) -> dict[Kind, dict[str, Any]]:
    """Parameters that are ignored over there, with values that ask for something."""
    usual: dict[str, Any] = {
        "n": 2, "seed": 1, "logit_bias": {"1": 2}, "tool_choice": "required", "best_of": 2,
        "logprobs": True, "top_logprobs": 2, "frequency_penalty": 0.5, "presence_penalty": 0.5,
        "parallel_tool_calls": False, "echo": True, "stop": ["x"], "tools": [{"type": "function"}],
    }  # fmt: skip
    return {Kind.CHAT: {name: usual[name] for name in names} | values}


def honoured(**wanted: tuple[Any, Mapping[str, Any]]) -> dict[Kind, Any]:
    return {Kind.CHAT: wanted}


ONE_LIMIT = (9, {"max_tokens": 9})
PROMPT_AS_MESSAGE: dict[tuple[Kind, str], Sent | Refused] = {
    (Kind.COMPLETIONS, name): Sent(
        body={
            "messages": [{"role": "user", "content": ask["prompt"]}],
            "model": "m",
            **{key: value for key, value in ask.items() if key != "prompt"},
        }
    )
    for name, ask in ASKS[Kind.COMPLETIONS].items()
}
"""What becomes of the canonical prompts where there is only chat."""


TOOLS_WITHOUT_CHOICE: dict[tuple[Kind, str], Sent | Refused] = {
    (Kind.CHAT, "tools"): Sent(
        body={**{k: v for k, v in TOOLS.items() if k != "tool_choice"}, "model": "m"}
    )
}
"""Where the choice is the model's in any case, `auto` is honoured by leaving it out."""


def by_chat(name: str, base_url: str, kinds: tuple[Kind, ...], **more: Any) -> Vendor:
    """A vendor whose text completions are chats."""
    said = Said(text=ANSWER, usage=openai.USAGE)
    text = frames(chunk({"content": ANSWER}), chunk({}, "stop"), openai.last_chunk())
    others = tuple(kind for kind in kinds if kind is not Kind.COMPLETIONS)
    answers = [a for kind in others for a in ANSWERS[kind]]
    streams = [s for kind in others for s in STREAMS[kind]]
    changes = PROMPT_AS_MESSAGE | more.pop("changes", {})
    vendor = row(name, base_url, kinds, changes=changes, **more)
    urls = {**vendor.urls, Kind.COMPLETIONS: f"{base_url}{PATHS[Kind.CHAT]}"}
    plain = Answered(name="plain", kind=Kind.COMPLETIONS, body=completion(ANSWER), said=said)
    stream = Streamed(name="text", kind=Kind.COMPLETIONS, body=text, said=said)
    own = [a for a in vendor.answers if a.kind is Kind.CHAT and a not in answers]
    spoken = [s for s in vendor.streams if s.kind is Kind.CHAT and s not in streams]
    return replace(
        vendor, urls=urls, answers=[*answers, plain, *own], streams=[*streams, stream, *spoken]
    )


def azure(name: str, kind: str, headers: Mapping[str, str], **config: str) -> Vendor:
    """OpenAI's models behind a deployment of Azure's, by a dated version of the API."""
    root = "https://x.openai.azure.com/openai"
    version = "?api-version=2025-04-01-preview"
    urls = {kind: f"{root}/deployments/gpt%204/{PATHS[kind][1:]}{version}" for kind in THREE}
    asks = {
        kind: {name: Sent(body=ask) for name, ask in ASKS[kind].items()} for kind in THREE
    } | openai.sent_as_asked((Kind.RESPONSES,), model="gpt 4")
    return row(
        name,
        root,
        FOUR,
        provider=kind,
        config={
            "openai_api_key": KEY,
            "openai_api_base": "https://x.openai.azure.com/",
            "openai_api_version": "2025-04-01-preview",
            "openai_deployment_name": "gpt 4",
            **config,
        },
        urls={**urls, Kind.RESPONSES: f"{root}/responses{version}"},
        headers=headers,
        asks=asks,
        failures=[
            Failure(
                name="content filter",
                status=400,
                body={
                    "error": {
                        "message": "The response was filtered due to the prompt",
                        "type": None,
                        "param": "prompt",
                        "code": "content_filter",
                        "status": 400,
                        "innererror": {"code": "ResponsibleAIPolicyViolation"},
                    }
                },
                error=ContentRefused,
            )
        ],
        streams=[
            Streamed(
                name="filter results first",
                body=frames(
                    {**HEAD, "choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
                    chunk({"content": ANSWER}),
                    chunk({}, "content_filter"),
                    openai.last_chunk(),
                ),
                said=Said(text=ANSWER, finish_reason="content_filter", usage=openai.USAGE),
            )
        ],
    )


def local(name: str, base_url: str, kinds: tuple[Kind, ...], **more: Any) -> Vendor:
    """A server of one's own, without a key."""
    alone: dict[str, Any] = {"config": {}, "headers": {}, "secrets": ()}
    return row(name, base_url, kinds, **(alone | more))


def quota(status: int, body: object) -> Failure:
    return Failure(name="quota", status=status, body=body, error=QuotaExhausted)


AZURE = (
    azure("azure", "azure", {"api-key": KEY}),
    azure("azure-as-openai", "openai", {"api-key": KEY}, openai_api_type="azure"),
    azure("azuread", "openai", BEARER, openai_api_type="azuread"),
    row(
        "azure-v1",
        "https://x.openai.azure.com/openai/v1",
        FOUR,
        provider="azure",
        config={"api_key": KEY, "api_base": "https://x.openai.azure.com"},
        headers={"api-key": KEY},
    ),
)

LOCAL = (
    local("openai-compatible", "http://h:1/v1", THREE, config={"api_base": "http://h:1/v1/"}),
    local("vllm", "http://localhost:8000/v1", FOUR),
    local("sglang", "http://localhost:30000/v1", FOUR),
    local(
        "llama.cpp",
        "http://localhost:8080/v1",
        THREE,
        failures=[
            Failure(
                name="still loading",
                status=503,
                body={"error": {"code": 503, "message": "Loading", "type": "unavailable_error"}},
                error=Unavailable,
            )
        ],
    ),
    local(
        "ollama",
        "http://localhost:11434/v1",
        FOUR,
        changes=TOOLS_WITHOUT_CHOICE,
        refused=refused("n", "best_of", "logit_bias", "tool_choice", "echo"),
        honoured=honoured(
            max_completion_tokens=ONE_LIMIT,
            tool_choice=("auto", {}),
            n=(1, {}),
            seed=(0, {"seed": 0}),
        ),
    ),
)
"""Servers of one's own."""

DEEPSEEK_USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_cache_hit_tokens": 16,
    "prompt_cache_miss_tokens": 4,
    "completion_tokens_details": {"reasoning_tokens": 4},
}
XAI_USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 5,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 16},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
THINKING = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "ええと"}]},
    {"type": "text", "text": ANSWER},
]

HOSTED = (
    row(
        "groq",
        "https://api.groq.com/openai/v1",
        (Kind.CHAT, Kind.RESPONSES),
        failures=[
            Failure(
                name="flex capacity",
                status=498,
                body={"error": {"message": "capacity exceeded", "type": "capacity_exceeded"}},
                error=RateLimited,
            )
        ],
    ),
    row(
        "togetherai",
        "https://api.together.xyz/v1",
        THREE,
        config={"togetherai_api_key": KEY},
        honoured=honoured(max_completion_tokens=ONE_LIMIT),
        answers=[
            Answered(
                name="its own word for the end",
                body=completion(ANSWER, "eos"),
                said=Said(text=ANSWER, usage=openai.USAGE),
            )
        ],
        streams=[
            Streamed(
                name="its own word for the end",
                body=frames(chunk({"content": ANSWER}), chunk({}, "eos"), openai.last_chunk()),
                said=Said(text=ANSWER, usage=openai.USAGE),
            )
        ],
    ),
    row(
        "deepseek",
        "https://api.deepseek.com/v1",
        CHAT_TEXT,
        refused=refused("n", "seed", "logit_bias", "parallel_tool_calls"),
        honoured=honoured(max_completion_tokens=ONE_LIMIT, temperature=(0.3, {"temperature": 0.3})),
        answers=[
            Answered(
                name="its own word for cached tokens",
                body=completion(ANSWER, usage=DEEPSEEK_USAGE, reasoning_content="ええと"),
                said=Said(text=ANSWER, usage=openai.USAGE),
            )
        ],
        failures=[quota(402, {"error": {"message": "Insufficient Balance", "code": "x"}})],
    ),
    row(
        "deepseek-reasoner",
        "https://api.deepseek.com/v1",
        CHAT,
        provider="deepseek",
        model="deepseek-reasoner",
        asks=openai.sent_as_asked(CHAT, "deepseek-reasoner", without_turns("temperature")),
        refused=refused(
            "frequency_penalty", "presence_penalty", "seed", temperature=0.3, top_p=0.5
        ),
    ),
    row(
        "xai",
        "https://api.x.ai/v1",
        FOUR,
        refused=refused("logit_bias"),
        answers=[
            Answered(
                name="reasoning counted beside the completion",
                body=completion(ANSWER, usage=XAI_USAGE),
                said=Said(text=ANSWER, usage=openai.USAGE),
            )
        ],
        error=lambda _status, message, case: {"code": case, "error": message},
    ),
    row(
        "openrouter",
        "https://openrouter.ai/api/v1",
        FOUR,
        asks=openai.sent_as_asked(FOUR, added={"provider": {"require_parameters": True}}),
        error=lambda status, message, _: {"error": {"code": status, "message": message}},
        honoured=honoured(
            provider=(
                {"order": ["x"]},
                {"provider": {"order": ["x"], "require_parameters": True}},
            )
        ),
        failures=[
            quota(402, {"error": {"code": 402, "message": "Insufficient credits"}}),
            Failure(
                name="an error under 200",
                status=200,
                body={"error": {"code": 429, "message": "upstream is busy"}},
                error=RateLimited,
                headers={"content-type": "application/json"},
            ),
        ],
    ),
    by_chat(
        "mistral",
        "https://api.mistral.ai/v1",
        THREE,
        config={"mistral_api_key": KEY},
        honoured=honoured(max_completion_tokens=ONE_LIMIT, seed=(0, {"random_seed": 0})),
        answers=[
            Answered(
                name="thinking beside the text",
                body=completion(THINKING, "model_length"),
                said=Said(text=ANSWER, finish_reason="length", usage=openai.USAGE),
            )
        ],
        streams=[
            Streamed(
                name="thinking beside the text, usage in the last chunk",
                body=frames(
                    chunk({"content": THINKING[:1]}),
                    chunk({"content": THINKING[1:]}),
                    {**chunk({"content": ""}, "stop"), "usage": openai.COUNTED},
                ),
                said=Said(text=ANSWER, usage=openai.USAGE),
            )
        ],
        error=lambda _status, message, case: {
            "object": "error",
            "message": message,
            "type": case,
            "param": None,
            "code": "3000",
        },
        failures=[
            Failure(
                name="a field too many",
                status=422,
                body={"detail": [{"type": "extra_forbidden", "loc": ["body", "x"], "msg": "no"}]},
                error=InvalidRequest,
            )
        ],
    ),
    by_chat(
        "ai21labs",
        "https://api.ai21.com/studio/v1",
        CHAT_TEXT,
        config={"ai21labs_api_key": KEY},
        refused=refused(
            "seed",
            "frequency_penalty",
            "presence_penalty",
            "logit_bias",
            "logprobs",
            "top_logprobs",
            "parallel_tool_calls",
            tool_choice="required",
        ),
        changes=TOOLS_WITHOUT_CHOICE,
        error=lambda _status, message, _: {"detail": message},
    ),
    row("fireworks", "https://api.fireworks.ai/inference/v1", FOUR),
    row(
        "perplexity",
        "https://api.perplexity.ai",
        CHAT,
        changes={
            (Kind.CHAT, "turns"): Refused(parameter="stop"),
            (Kind.CHAT, "tools"): Refused(parameter="tools"),
        },
        refused=refused("n", "seed", "logit_bias", "logprobs", "tools", stop=["x"]),
        honoured=honoured(max_completion_tokens=ONE_LIMIT),
        failures=[
            quota(
                401, {"error": {"message": "no credits", "type": "insufficient_quota", "code": 401}}
            )
        ],
    ),
    row(
        "cerebras",
        "https://api.cerebras.ai/v1",
        CHAT_TEXT,
        changes=renamed(max_tokens="max_completion_tokens")
        | {
            (Kind.COMPLETIONS, "parameters"): Sent(
                body={
                    **{k: v for k, v in PROMPT_WITH.items() if k != "max_tokens"},
                    "max_completion_tokens": 5,
                    "model": "m",
                }
            )
        },
    ),
    row(
        "nvidia-nim",
        "https://integrate.api.nvidia.com/v1",
        THREE,
        honoured=honoured(max_completion_tokens=ONE_LIMIT),
    ),
    row(
        "huggingface",
        "https://router.huggingface.co/v1",
        CHAT,
        honoured=honoured(max_completion_tokens=ONE_LIMIT),
        error=lambda _status, message, _: {"error": message},
        failures=[quota(402, {"error": "You have exceeded your monthly included credits"})],
    ),
    row(
        "databricks",
        "https://dbc.cloud.databricks.com/serving-endpoints",
        THREE,
        config={"host": "https://dbc.cloud.databricks.com", "token": KEY},
        error=lambda _status, message, _: {"error_code": "BAD_REQUEST", "message": message},
        answers=[
            Answered(
                name="reasoning in parts",
                body=completion(
                    [
                        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "え"}]},
                        {"type": "text", "text": ANSWER},
                    ]
                ),
                said=Said(text=ANSWER, usage=openai.USAGE),
            )
        ],
        failures=[
            Failure(
                name="pay-per-token limit",
                status=429,
                body={"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "rate limit of 0"},
                error=RateLimited,
            )
        ],
    ),
    row(
        "portkey",
        "https://api.portkey.ai/v1",
        THREE,
        config={
            "api_key": "pk-secret-9876543210",
            "portkey_provider": "openai",
            "portkey_config": "pc-1",
            "provider_api_key": KEY,
        },
        headers={
            "x-portkey-api-key": "pk-secret-9876543210",
            "x-portkey-provider": "openai",
            "x-portkey-config": "pc-1",
            **BEARER,
        },
        secrets=(KEY, "pk-secret-9876543210"),
        error=lambda _status, message, _: {"status": "failure", "message": message},
    ),
    row(
        "o-series",
        "https://api.openai.com/v1",
        CHAT,
        provider="openai",
        config={"openai_api_key": KEY, "token_parameter": "max_completion_tokens"},
        changes=renamed(max_tokens="max_completion_tokens"),
        refused={Kind.CHAT: {}},
    ),
)

VENDORS = (*AZURE, *LOCAL, *HOSTED)
