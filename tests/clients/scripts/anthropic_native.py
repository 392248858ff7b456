"""Anthropic's SDK against a gateway in front of Claude: prints what it read."""

import json
import sys

import anthropic

URL, TEXT = sys.argv[1:3]
client = anthropic.Anthropic(base_url=f"{URL}/anthropic", api_key="any", max_retries=0)
MESSAGES = [{"role": "user", "content": TEXT}]
THINKING = {"type": "enabled", "budget_tokens": 1024}
DOCUMENT = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": TEXT},
    "cache_control": {"type": "ephemeral"},
}
found = {}

said = client.beta.messages.create(
    model="claude", max_tokens=2048, thinking=THINKING, betas=["made-up-2026"],
    messages=[{"role": "user", "content": [DOCUMENT, {"type": "text", "text": TEXT}]}],
    tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}],
)  # fmt: skip
found["message"] = [
    [block.type for block in said.content], said.content[0].signature, said.content[1].text,
    said.stop_reason, said.usage.input_tokens, said.usage.cache_read_input_tokens, said.id,
]  # fmt: skip
with client.messages.stream(
    model="claude", max_tokens=2048, thinking=THINKING, messages=MESSAGES
) as stream:
    final = stream.get_final_message()
found["stream"] = [
    final.content[0].thinking, final.content[0].signature, final.content[1].text,
    final.usage.output_tokens,
]  # fmt: skip
found["count"] = client.messages.count_tokens(model="claude", messages=MESSAGES).input_tokens
found["model"] = client.models.retrieve("claude").id

errors = {}
for name, ask in {
    "breaks": lambda: list(
        client.messages.create(model="breaks", max_tokens=9, messages=MESSAGES, stream=True)
    ),
    "mixed": lambda: client.messages.create(
        model="mixed", max_tokens=2048, messages=MESSAGES, thinking=THINKING
    ),
    "uncounted": lambda: client.messages.count_tokens(model="mixed", messages=MESSAGES),
}.items():
    try:
        ask()
    except anthropic.APIStatusError as error:
        body = error.body["error"]
        errors[name] = [type(error).__name__, error.status_code, body["type"], body["message"]]
found["errors"] = errors
sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
