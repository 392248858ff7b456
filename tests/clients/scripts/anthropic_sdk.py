"""Anthropic's SDK against a gateway: prints what it read."""

import json
import sys

import anthropic

URL, TEXT = sys.argv[1:3]
client = anthropic.Anthropic(base_url=f"{URL}/anthropic", api_key="any", max_retries=0)
MESSAGES = [{"role": "user", "content": TEXT}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"name": "weather", "description": "天気", "input_schema": WEATHER}]
found = {}

said = client.messages.create(
    model="tools", max_tokens=99, system="短く", messages=MESSAGES, stop_sequences=["終"]
)
found["message"] = [
    said.content[0].text, said.stop_reason, said.usage.input_tokens,
    said.usage.cache_read_input_tokens, said.usage.output_tokens, said.model,
]  # fmt: skip
image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
blocks = [{"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral"}}, image]
pictured = [{"role": "user", "content": blocks}]
said = client.messages.create(model="tools", max_tokens=9, messages=pictured)
found["image"] = said.content[0].text
said = client.messages.create(
    model="tools", max_tokens=99, messages=MESSAGES, tools=TOOLS, tool_choice={"type": "any"}
)
called = said.content[0]
found["tools"] = [said.stop_reason, called.type, called.name, called.input]
again = [
    *MESSAGES,
    {"role": "assistant", "content": said.content},
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": called.id, "content": "20度"}],
    },
]
found["tool result"] = (
    client.messages.create(model="tools", max_tokens=99, messages=again, tools=TOOLS)
    .content[0]
    .text
)
with client.messages.stream(model="tools", max_tokens=99, messages=MESSAGES) as stream:
    text = "".join(stream.text_stream)
    final = stream.get_final_message()
found["stream"] = [text, final.stop_reason, final.usage.input_tokens, final.usage.output_tokens]
with client.messages.stream(model="tools", max_tokens=99, messages=MESSAGES, tools=TOOLS) as stream:
    kinds = [event.type for event in stream]
    final = stream.get_final_message()
found["stream tools"] = [final.stop_reason, final.content[0].name, final.content[0].input]
found["stream events"] = sorted(set(kinds))
found["models"] = sorted(model.id for model in client.models.list())

errors = {}
for name, ask in {
    "unknown": lambda: client.messages.create(model="nobody", max_tokens=9, messages=MESSAGES),
    "thinking": lambda: client.messages.create(
        model="tools", max_tokens=2000, messages=MESSAGES,
        thinking={"type": "enabled", "budget_tokens": 1024},
    ),
    "refused": lambda: client.messages.create(model="refuses", max_tokens=9, messages=MESSAGES),
    "busy": lambda: client.messages.create(model="busy", max_tokens=9, messages=MESSAGES),
    "count": lambda: client.messages.count_tokens(model="tools", messages=MESSAGES),
    "breaks": lambda: list(
        client.messages.create(model="breaks", max_tokens=9, messages=MESSAGES, stream=True)
    ),
}.items():  # fmt: skip
    try:
        ask()
    except anthropic.APIStatusError as error:
        body = error.body["error"]
        after = error.response.headers.get("retry-after")
        errors[name] = [
            type(error).__name__,
            error.status_code,
            body["type"],
            after,
            body["message"],
        ]
found["errors"] = errors
sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
