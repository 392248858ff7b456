"""OpenAI's and Anthropic's SDKs, in an environment of their own, against a gateway process."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.clients.environments import run
from tests.clients.vendor import USAGE, Vendor, selling
from tests.support.gateway_server import serving

TEXT = "りんごは何色ですか？ 👩‍👩‍👧 か\u3099 שלום"
CONFIG = """
endpoints:
  - {name: tools, endpoint_type: llm/v1/chat, model: {provider: openai-compatible, name: m, config: {api_base: "%(url)s"}}}
  - {name: text, endpoint_type: llm/v1/completions, model: {provider: echo}}
  - {name: vectors, endpoint_type: llm/v1/embeddings, model: {provider: echo}}
  - {name: breaks, endpoint_type: llm/v1/chat, model: {provider: openai-compatible, name: breaks, config: {api_base: "%(url)s"}}, retry: {max_attempts: 1}}
  - {name: refuses, endpoint_type: llm/v1/chat, model: {provider: openai-compatible, name: refuses, config: {api_base: "%(url)s"}}}
  - {name: busy, endpoint_type: llm/v1/chat, model: {provider: openai-compatible, name: busy, config: {api_base: "%(url)s"}}, retry: {max_attempts: 1}}
"""  # noqa: E501 - one endpoint a line
NAMES = ["breaks", "busy", "refuses", "text", "tools", "vectors"]


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    with selling() as running:
        yield running


@pytest.fixture(scope="module")
def url(vendor: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = tmp_path_factory.mktemp("surfaces") / "gateway.yaml"
    config.write_text(CONFIG % {"url": vendor.url}, encoding="utf-8")
    with serving(config) as running:
        yield running


@pytest.fixture(scope="module")
def openais(url: str) -> Any:
    return run("mlflow3", "openai_sdk.py", url, TEXT)


def test_openais_sdk_finds_everything_it_knows(openais, vendor):
    assert openais["parsed"] == ["赤", "赤"]
    shapes = [body["response_format"] for body in vendor.asked if "response_format" in body]
    assert [shape["json_schema"]["schema"]["required"] for shape in shapes] == [["colour"]] * 2
    found = openais
    assert found["chat"] == [TEXT, 18]
    assert found["models"] == NAMES
    assert found["completion"] == TEXT
    assert found["embeddings"] < 1e-6
    assert found["chat tools"] == ["weather", {"city": "東京"}, "call_1"]
    assert found["chat usage"] == 7
    assert found["chat tool result"] == "晴れ:20度"
    assert found["response"] == [TEXT, "completed", 18, 4, "短く", False]
    assert found["response tools"] == ["function_call", "weather", {"city": "東京"}]
    assert found["response tool result"] == "晴れ:20度"
    assert found["response image"] == f"{TEXT}+image_url"
    assert found["response stream"] == [TEXT, "completed", USAGE["completion_tokens"]]
    assert found["response stream tools"] == ["weather", {"city": "東京"}]
    assert found["response breaks"] == ["response.failed", "電源が落ちた"]
    assert found["response numbers"]
    assert found["response events"] == [
        "response.completed", "response.content_part.added", "response.content_part.done",
        "response.created", "response.in_progress", "response.output_item.added",
        "response.output_item.done", "response.output_text.delta", "response.output_text.done",
    ]  # fmt: skip
    asked = next(body for body in vendor.asked if body.get("max_completion_tokens") == 99)
    assert asked["messages"][0] == {"role": "system", "content": "短く"}


def test_openais_sdk_raises_what_it_raises_at_openai(openais):
    errors = openais["errors"]
    assert errors["unknown"][:3] == ["NotFoundError", 404, "model_not_found"]
    assert errors["stored"][:4] == ["BadRequestError", 400] + ["previous_response_id"] * 2
    assert errors["built in"][:4] == ["BadRequestError", 400] + ["tools[0].type"] * 2
    assert errors["refused"][:3] == ["BadRequestError", 400, "bad"]
    assert "だめです" in errors["refused"][5]
    assert errors["busy"][:2] == ["RateLimitError", 429]
    assert errors["busy"][4] == "7"
    assert errors["breaks"][0] == "APIError"
    assert "電源が落ちた" in errors["breaks"][5]


def test_anthropics_sdk_speaks_to_any_endpoint_that_chats(url, vendor):
    found = run("mlflow3", "anthropic_sdk.py", url, TEXT)
    assert found["message"] == [TEXT, "end_turn", 7, 4, 7, "tools"]
    assert found["image"] == f"{TEXT}+image_url"
    assert found["tools"] == ["tool_use", "tool_use", "weather", {"city": "東京"}]
    assert found["tool result"] == "晴れ:20度"
    assert found["stream"] == [TEXT, "end_turn", 7, 7]
    assert found["stream tools"] == ["tool_use", "weather", {"city": "東京"}]
    assert {"message_start", "content_block_start", "input_json", "message_stop"} <= set(
        found["stream events"]
    )
    assert found["models"] == NAMES
    asked = next(body for body in vendor.asked if body.get("stop") == ["終"])
    assert asked["messages"][0] == {"role": "system", "content": "短く"}
    required = next(body for body in vendor.asked if body.get("tool_choice") == "required")
    assert required["tools"][0]["function"]["description"] == "天気"
    errors = found["errors"]
    assert errors["unknown"][:3] == ["NotFoundError", 404, "not_found_error"]
    assert errors["thinking"][:3] == ["BadRequestError", 400, "invalid_request_error"]
    assert errors["refused"][2:] == ["invalid_request_error", None, "だめです"]
    assert errors["busy"][:4] == ["RateLimitError", 429, "rate_limit_error", "7"]
    assert errors["count"][1] == 404
    assert errors["breaks"][2:] == ["api_error", None, "電源が落ちた"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/chat/completions",
            {"model": "breaks", "messages": [{"role": "user", "content": "x"}]},
        ),
        ("/gateway/breaks/invocations", {"messages": [{"role": "user", "content": "x"}]}),
        ("/gateway/breaks/mlflow/invocations", {"messages": [{"role": "user", "content": "x"}]}),
        ("/v1/responses", {"model": "breaks", "input": "x"}),
        (
            "/anthropic/v1/messages",
            {"model": "breaks", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
        ),
    ],
)
def test_a_failure_inside_a_stream_arrives_as_an_event(url, path, body):
    answer = httpx2.post(f"{url}{path}", json=body | {"stream": True}, trust_env=False)
    assert answer.status_code == 200
    assert "半" in answer.text
    assert "電源が落ちた" in answer.text.split("\n\n")[-2 if "DONE" not in answer.text else -3]
