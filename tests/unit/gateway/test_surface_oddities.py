"""Odd answers of a vendor, at every surface: none brings about a fault of ours."""

from typing import Any

import httpx2
import msgspec
import pytest

from gateway.client import Gateway
from gateway.main import create_app
from tests.contract.test_oddities import oddly
from tests.support.gateway_wire import ScriptedTransport, catalog, reply, sse

MODEL = (
    "model: {provider: openai-compatible, name: m, config: {api_base: 'http://x/v1'}},"
    " breaker: {enabled: false}, retry: {max_attempts: 1}"
)
CONFIG = f"""
endpoints:
  - {{name: chat, endpoint_type: llm/v1/chat, {MODEL}}}
  - {{name: vectors, endpoint_type: llm/v1/embeddings, {MODEL}}}
routes:
  - {{name: old, route_type: llm/v1/chat, {MODEL}}}
"""
CALL = {"id": "c", "type": "function", "function": {"name": "n", "arguments": "{}"}}
USAGE = {
    "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 1},
}  # fmt: skip
SAID = {"role": "assistant", "content": "x", "tool_calls": [CALL]}
CHAT = {"choices": [{"index": 0, "message": SAID, "finish_reason": "stop"}], "usage": USAGE}
VECTORS = {"data": [{"index": 0, "embedding": [1, 2]}], "usage": {"prompt_tokens": 1}}
CHUNK = {
    "choices": [{"delta": {"content": "x", "tool_calls": [{"index": 0, **CALL}]},
                 "finish_reason": "stop"}],
    "usage": USAGE,
}  # fmt: skip
ASKED = [{"role": "user", "content": "x"}]
DOORS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "chat", "messages": ASKED},
    "/v1/responses": {"model": "chat", "input": "x"},
    "/anthropic/v1/messages": {"model": "chat", "max_tokens": 9, "messages": ASKED},
    "/gateway/chat/invocations": {"messages": ASKED},
    "/gateway/old/invocations": {"messages": ASKED},
    "/gateway/chat/mlflow/invocations": {"messages": ASKED},
}
EMBEDDING: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"model": "vectors", "input": ["x"], "encoding_format": "base64"},
    "/gateway/vectors/invocations": {"text": ["x"]},
    "/gateway/vectors/mlflow/invocations": {"input": ["x"]},
}


async def statuses(path: str, body: dict[str, Any], answers: list[bytes]) -> set[int]:
    said = iter(answers)
    transport = ScriptedTransport(lambda _: reply(body=next(said)))
    found = set()
    async with Gateway(catalog(CONFIG), transport) as gateway:
        served = httpx2.ASGITransport(app=create_app(gateway))
        async with httpx2.AsyncClient(transport=served, base_url="http://x") as http:
            for _ in answers:
                found.add((await http.post(path, json=body)).status_code)
    return found


@pytest.mark.parametrize("path", [*DOORS, *EMBEDDING])
async def test_an_odd_answer_is_passed_on_or_a_bad_gateway(path):
    body, shape = (DOORS[path], CHAT) if path in DOORS else (EMBEDDING[path], VECTORS)
    answers = [msgspec.json.encode(odd) for odd in oddly(shape)]
    assert 502 in await statuses(path, body, answers) <= {200, 502}


@pytest.mark.parametrize("path", [path for path in DOORS if "old" not in path])
async def test_an_odd_event_is_passed_on_or_an_error_of_the_surface(path):
    answers = [sse(odd) for odd in oddly(CHUNK)]
    assert await statuses(path, DOORS[path] | {"stream": True}, answers) <= {200, 502}
