"""Anthropic's Messages API, passed on: betas, counts, default lengths, and who has it."""

from base64 import b64decode
from typing import Any

import msgspec
import pytest

from gateway.config import Endpoint
from gateway.errors import WrongEndpointType
from gateway.providers import bind, has_messages
from gateway.providers.messages import betas
from gateway.streams import usage_in
from gateway.types import Usage
from tests.support.gateway_wire import ScriptedTransport, catalog, reply

ANTHROPIC: dict[str, Any] = {"anthropic_api_key": "sk-ant-0123456789"}
VERTEX: dict[str, Any] = {"vertex_project": "p-1", "vertex_access_token": "token-0123456789"}
AWS: dict[str, Any] = {
    "aws_config": {"aws_region": "us-east-1", "aws_bearer_token": "b-0123456789"}
}
ASK: dict[str, Any] = {"max_tokens": 9, "messages": [{"role": "user", "content": "りんご"}]}
SAID = {
    "model": "claude-x", "content": [{"type": "text", "text": "赤"}], "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip


def endpoint(provider: str, config: dict[str, Any], model: str = "claude-x") -> Endpoint:
    entry = {
        "name": "it", "endpoint_type": "llm/v1/chat",
        "model": {"provider": provider, "name": model, "config": config},
    }  # fmt: skip
    return catalog(msgspec.json.encode({"endpoints": [entry]}).decode()).endpoints["it"]


@pytest.mark.parametrize(
    ("provider", "config", "model"),
    [
        ("anthropic", ANTHROPIC | {"anthropic_beta": "a, b"}, "claude-x"),
        ("vertex_ai", VERTEX | {"vertex_anthropic_betas": ["a", "b"]}, "claude-x"),
    ],
)
async def test_betas_of_the_endpoint_and_of_the_request_go_in_one_header(provider, config, model):
    transport = ScriptedTransport(lambda _: reply(body=SAID))
    provider = bind(endpoint(provider, config, model), transport)
    await provider.message({**ASK, "anthropic_beta": ["b", "c-2026"]})
    await provider.chat(ASK)
    assert [r.headers["anthropic-beta"] for r in transport.requests] == ["a,b,c-2026", "a,b"]
    assert all("anthropic_beta" not in body for body in transport.bodies)


async def test_betas_stay_in_the_body_on_bedrock():
    transport = ScriptedTransport(lambda _: reply(body=SAID))
    provider = bind(endpoint("bedrock", AWS, "eu.anthropic.claude-x"), transport)
    await provider.message({**ASK, "anthropic_beta": ["c-2026"]})
    assert transport.bodies[0]["anthropic_beta"] == ["c-2026"]
    assert "anthropic-beta" not in transport.requests[0].headers


async def test_tokens_are_counted_where_each_vendor_counts_them():
    asked = {"messages": ASK["messages"]}
    transport = ScriptedTransport(lambda _: reply(body={"input_tokens": 14, "inputTokens": 14}))
    for found in (
        endpoint("anthropic", ANTHROPIC),
        endpoint("vertex_ai", VERTEX),
        endpoint("bedrock", AWS, "anthropic.claude-x"),
    ):
        answer = await bind(found, transport).count_tokens(asked)
        assert msgspec.json.decode(answer.raw)["input_tokens"] == 14
        assert answer.usage == Usage()
    assert [request.url.partition("/v1/")[2] or request.url for request in transport.requests] == [
        "messages/count_tokens",
        "projects/p-1/locations/global/publishers/anthropic/models/count-tokens:rawPredict",
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-x/count-tokens",
    ]
    own, google, aws = transport.bodies
    assert own == asked | {"model": "claude-x"}
    assert google == asked | {"model": "claude-x", "anthropic_version": "vertex-2023-10-16"}
    inside = msgspec.json.decode(b64decode(aws["input"]["invokeModel"]["body"]))
    assert inside == asked | {"max_tokens": 1, "anthropic_version": "bedrock-2023-05-31"}


@pytest.mark.parametrize(("config", "sent"), [({}, 4096), ({"anthropic_max_tokens": 7}, 7)])
async def test_a_chat_without_a_length_gets_one_that_every_model_takes(config, sent):
    transport = ScriptedTransport(lambda _: reply(body=SAID))
    provider = bind(endpoint("anthropic", ANTHROPIC | config), transport)
    await provider.chat({"messages": ASK["messages"]})
    assert transport.bodies[0]["max_tokens"] == sent


async def test_claude_on_google_cloud_has_the_same_default():
    transport = ScriptedTransport(lambda _: reply(body=SAID))
    await bind(endpoint("vertex_ai", VERTEX), transport).chat({"messages": ASK["messages"]})
    assert transport.bodies[0]["max_tokens"] == 4096


def test_who_has_the_messages_api():
    assert has_messages(endpoint("anthropic", ANTHROPIC))
    assert has_messages(endpoint("vertex_ai", VERTEX))
    assert not has_messages(endpoint("vertex_ai", VERTEX, "gemini-x"))
    assert has_messages(endpoint("bedrock", AWS, "us.anthropic.claude-x"))
    assert not has_messages(endpoint("bedrock", AWS, "amazon.nova-x"))
    assert not has_messages(endpoint("echo", {}))


async def test_a_model_without_the_messages_api_says_so():
    transport = ScriptedTransport(lambda _: reply(body=SAID))
    for found in (endpoint("bedrock", AWS, "amazon.nova-x"), endpoint("echo", {})):
        provider = bind(found, transport)
        with pytest.raises(WrongEndpointType):
            await provider.message(ASK)
        with pytest.raises(WrongEndpointType):
            await provider.count_tokens(ASK)
    assert transport.requests == []


def test_betas_come_from_lists_and_texts_once_each():
    assert betas("a, b", None, ["b", "c", 3], "") == "a,b,c"


@pytest.mark.parametrize(
    ("chunk", "usage"),
    [
        (b'{"choices": [], "usage": null}', Usage()),
        (
            (
                b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,'
                b'"prompt_tokens_details":{"cached_tokens":3},'
                b'"completion_tokens_details":{"reasoning_tokens":2}}}'
            ),
            Usage(input_tokens=9, output_tokens=4, cached_input_tokens=3, reasoning_tokens=2),
        ),
        (
            (
                b'{"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":15,'
                b'"completion_tokens_details":{"reasoning_tokens":2}}}'
            ),
            Usage(input_tokens=9, output_tokens=6, reasoning_tokens=2),
        ),
        (
            (
                b'{"type":"response.completed","response":{"usage":{"input_tokens":5,"output_tokens":6,'
                b'"input_tokens_details":{"cached_tokens":1}}}}'
            ),
            Usage(input_tokens=5, output_tokens=6, cached_input_tokens=1),
        ),
    ],
)
def test_the_counts_of_a_stream_are_read_whole(chunk, usage):
    assert usage_in(chunk, Usage()) == usage


def test_anthropic_tells_its_counts_in_two_events():
    begun = (
        b'{"type":"message_start","message":{"usage":{"input_tokens":4,"output_tokens":1,'
        b'"cache_read_input_tokens":16,"cache_creation_input_tokens":2}}}'
    )
    ended = b'{"type":"message_delta","usage":{"output_tokens":9}}'
    usage = usage_in(ended, usage_in(begun, Usage()))
    assert usage == Usage(input_tokens=22, output_tokens=9, cached_input_tokens=16)


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "medium", {"thinkingBudget": 8192}),
        ("gemini-3-pro", "high", {"thinkingLevel": "high"}),
    ],
)
async def test_gemini_thinks_as_hard_as_asked(model, effort, thinking):
    said = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]}
    transport = ScriptedTransport(lambda _: reply(body=said))
    provider = bind(endpoint("gemini", {"gemini_api_key": "k-0123456789"}, model), transport)
    await provider.chat({"messages": ASK["messages"], "reasoning_effort": effort})
    assert transport.bodies[0]["generationConfig"] == {"thinkingConfig": thinking}
