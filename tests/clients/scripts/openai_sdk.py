"""OpenAI's SDK against a gateway: prints what it read."""

import json
import sys

import openai
import pydantic

URL, TEXT = sys.argv[1:3]
client = openai.OpenAI(base_url=f"{URL}/v1", api_key="any", max_retries=0)
MESSAGES = [{"role": "user", "content": TEXT}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
TOOLS = [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}]
found = {}

answer = client.chat.completions.create(model="tools", messages=MESSAGES)
found["chat"] = [answer.choices[0].message.content, answer.usage.total_tokens]
found["models"] = sorted(model.id for model in client.models.list())
found["completion"] = client.completions.create(model="text", prompt=TEXT).choices[0].text
vectors = [
    client.embeddings.create(model="vectors", input=[TEXT], **how).data[0].embedding
    for how in ({}, {"encoding_format": "float"})
]
found["embeddings"] = max(abs(a - b) for a, b in zip(*vectors, strict=True))

with client.chat.completions.stream(
    model="tools", messages=MESSAGES, tools=CHAT_TOOLS, stream_options={"include_usage": True}
) as stream:
    final = stream.get_final_completion()
call = final.choices[0].message.tool_calls[0]
found["chat tools"] = [call.function.name, json.loads(call.function.arguments), call.id]
found["chat usage"] = final.usage.completion_tokens
again = [
    *MESSAGES,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [call.model_dump(include={"id", "type", "function"})],
    },
    {"role": "tool", "tool_call_id": call.id, "content": "20度"},
]
again[1]["tool_calls"][0]["function"].pop("parsed_arguments", None)
found["chat tool result"] = (
    client.chat.completions.create(model="tools", messages=again, tools=CHAT_TOOLS)
    .choices[0]
    .message.content
)


class Colour(pydantic.BaseModel):
    """The shape that is asked for."""

    colour: str


shaped = [{"role": "user", "content": '{"colour": "赤"}'}]
found["parsed"] = [
    client.chat.completions.parse(model="tools", messages=shaped, response_format=Colour)
    .choices[0]
    .message.parsed.colour,
    client.responses.parse(model="tools", input=shaped, text_format=Colour).output_parsed.colour,
]

response = client.responses.create(
    model="tools", instructions="短く", input=TEXT, max_output_tokens=99
)
found["response"] = [
    response.output_text, response.status, response.usage.total_tokens,
    response.usage.input_tokens_details.cached_tokens, response.instructions, response.store,
]  # fmt: skip
response = client.responses.create(model="tools", input=TEXT, tools=TOOLS)
called = response.output[0]
found["response tools"] = [called.type, called.name, json.loads(called.arguments)]
result = {"type": "function_call_output", "call_id": called.call_id, "output": "20度"}
follow = [{"role": "user", "content": TEXT}, called.model_dump(exclude_none=True), result]
found["response tool result"] = client.responses.create(
    model="tools", input=follow, tools=TOOLS
).output_text
parts = [
    {"type": "input_text", "text": TEXT},
    {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
]
found["response image"] = client.responses.create(
    model="tools", input=[{"role": "user", "content": parts}]
).output_text

with client.responses.stream(model="tools", input=TEXT) as stream:
    kinds = [event.type for event in stream]
    final = stream.get_final_response()
found["response stream"] = [final.output_text, final.status, final.usage.output_tokens]
found["response events"] = sorted(set(kinds))
with client.responses.stream(model="tools", input=TEXT, tools=TOOLS) as stream:
    final = stream.get_final_response()
found["response stream tools"] = [final.output[0].name, json.loads(final.output[0].arguments)]
events = list(client.responses.create(model="breaks", input=TEXT, stream=True))
found["response breaks"] = [events[-1].type, events[-1].response.error.message]
numbers = [event.sequence_number for event in events]
found["response numbers"] = numbers == list(range(len(numbers)))

errors = {}
for name, ask in {
    "unknown": lambda: client.responses.create(model="nobody", input=TEXT),
    "stored": lambda: client.responses.create(
        model="tools", input=TEXT, previous_response_id="resp_1"
    ),
    "built in": lambda: client.responses.create(
        model="tools", input=TEXT, tools=[{"type": "web_search"}]
    ),
    "refused": lambda: client.chat.completions.create(model="refuses", messages=MESSAGES),
    "busy": lambda: client.chat.completions.create(model="busy", messages=MESSAGES),
    "breaks": lambda: list(
        client.chat.completions.create(model="breaks", messages=MESSAGES, stream=True)
    ),
}.items():
    try:
        ask()
    except openai.APIError as error:
        status = getattr(error, "status_code", None)
        after = error.response.headers.get("retry-after") if status else None
        errors[name] = [type(error).__name__, status, error.code, error.param, after, str(error)]
found["errors"] = errors
sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
