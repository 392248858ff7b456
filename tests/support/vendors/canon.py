"""The canonical asks, in OpenAI's dialect: what every vendor must either do or refuse by name."""

from collections.abc import Mapping
from typing import Any

from tests.support.vendors.contract import Kind

TEXT = "りんごは👩‍👩‍👧何色？ か\u3099 \u2028\u0085 שלום"
"""Japanese, a ZWJ family, a combining mark, two line ends that are not, right-to-left."""
ANSWER = "赤です。🍎👨‍👩‍👧 が か\u3099 \u2028です"
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)

PLAIN: dict[str, Any] = {"messages": [{"role": "user", "content": TEXT}]}

TURNS: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "短く答えて。"},
        {"role": "user", "content": "りんごは？"},
        {"role": "assistant", "content": "赤。"},
        {"role": "user", "content": "バナナは？"},
    ],
    "temperature": 0,
    "top_p": 0.5,
    "max_tokens": 16,
    "stop": ["###"],
}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"色": {"type": "string"}},
    "required": ["色"],
    "additionalProperties": False,
}

TOOLS: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "東京の天気は？"},
        {
            "role": "assistant",
            "content": None,
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
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "天気",
                "parameters": {
                    "type": "object",
                    "properties": {"city": {"type": "string"}},
                    "required": ["city"],
                },
            },
        }
    ],
    "tool_choice": "auto",
}

JSON_MODE: dict[str, Any] = {**PLAIN, "response_format": {"type": "json_object"}}

STRUCTURED: dict[str, Any] = {
    **PLAIN,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "color", "strict": True, "schema": SCHEMA},
    },
}

IMAGE: dict[str, Any] = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "何色？"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ],
        }
    ]
}

PROMPT: dict[str, Any] = {"prompt": TEXT}
PROMPT_WITH: dict[str, Any] = {
    "prompt": "りんごは", "temperature": 0.7, "max_tokens": 5, "stop": ["。"],
}  # fmt: skip

EMBED_ONE: dict[str, Any] = {"input": TEXT}
EMBED_LIST: dict[str, Any] = {"input": ["赤", "青"]}

RESPOND: dict[str, Any] = {"input": TEXT, "max_output_tokens": 16}

MESSAGE: dict[str, Any] = {
    "max_tokens": 9,
    "messages": [{"role": "user", "content": TEXT}],
}
MESSAGE_WITH: dict[str, Any] = {
    "max_tokens": 2048,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "system": [{"type": "text", "text": "短く。", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {
                    "type": "document",
                    "source": {
                        "type": "text",
                        "media_type": "text/plain",
                        "data": "りんごは赤い。",
                    },
                    "citations": {"enabled": True},
                },
                {"type": "text", "text": "何色？"},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "うーん", "signature": "c2ln"}],
        },
        {"role": "user", "content": "それで？"},
    ],
    "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}],
    "made_up": {"later": [1, 2.5, "三"]},
}
"""What chat has no place for goes on as it came."""

ASKS: Mapping[Kind, Mapping[str, Mapping[str, Any]]] = {
    Kind.CHAT: {
        "plain": PLAIN,
        "turns": TURNS,
        "tools": TOOLS,
        "json_mode": JSON_MODE,
        "structured": STRUCTURED,
        "image": IMAGE,
    },
    Kind.COMPLETIONS: {"plain": PROMPT, "parameters": PROMPT_WITH},
    Kind.EMBEDDINGS: {"one": EMBED_ONE, "list": EMBED_LIST},
    Kind.RESPONSES: {"plain": RESPOND},
    Kind.MESSAGES: {"plain": MESSAGE, "all that chat has not": MESSAGE_WITH},
}

FIRST: Mapping[Kind, Mapping[str, Any]] = {
    Kind.CHAT: PLAIN,
    Kind.COMPLETIONS: PROMPT,
    Kind.EMBEDDINGS: EMBED_LIST,
    Kind.RESPONSES: RESPOND,
    Kind.MESSAGES: MESSAGE,
}
"""The simplest ask of each kind."""
