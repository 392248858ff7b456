"""Anthropic's interface in front of Claude: what it says and is told goes through as it is."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.clients import claude
from tests.clients.environments import run
from tests.clients.vendor import Vendor, selling
from tests.support.gateway_server import serving

TEXT = "りんごは何色ですか？ 👩‍👩‍👧"
CONFIG = """
endpoints:
  - name: claude
    endpoint_type: llm/v1/chat
    params: {stop: ["終"]}
    model: {provider: anthropic, name: claude-x, config: {anthropic_api_key: sk-ant-of-ours, anthropic_beta: ours-2025, anthropic_api_base: "%(url)s"}}
  - name: breaks
    endpoint_type: llm/v1/chat
    retry: {max_attempts: 1}
    model: {provider: anthropic, name: breaks, config: {anthropic_api_key: sk-ant-of-ours, anthropic_api_base: "%(url)s"}}
  - name: mixed
    endpoint_type: llm/v1/chat
    fallback: [tools]
    model: {provider: anthropic, name: claude-x, config: {anthropic_api_key: sk-ant-of-ours, anthropic_api_base: "%(url)s"}}
  - {name: tools, endpoint_type: llm/v1/chat, model: {provider: openai-compatible, name: m, config: {api_base: "%(url)s"}}}
"""  # noqa: E501 - one endpoint a line


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    with selling() as running:
        yield running


@pytest.fixture(scope="module")
def url(vendor: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = tmp_path_factory.mktemp("claude") / "gateway.yaml"
    config.write_text(CONFIG % {"url": vendor.url}, encoding="utf-8")
    with serving(config) as running:
        yield running


def test_anthropics_sdk_finds_at_claude_all_that_chat_has_not(url, vendor):
    found = run("mlflow3", "anthropic_native.py", url, TEXT)
    signature = claude.THOUGHT["signature"]
    assert found["message"] == [
        ["thinking", "text"], signature, "赤", "end_turn", 3, 8, "msg_vendor",
    ]  # fmt: skip
    assert found["stream"] == [claude.THOUGHT["thinking"], signature, "赤", 7]
    assert (found["count"], found["model"]) == (14, "claude")
    first, headers = vendor.asked[0], vendor.headers[0]
    assert (first["model"], first["stop_sequences"]) == ("claude-x", ["終"])
    assert first["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert first["tools"][0]["type"] == "web_search_20250305"
    assert headers["anthropic-beta"] == "ours-2025,made-up-2026"
    assert headers["x-api-key"] == "sk-ant-of-ours"
    errors = found["errors"]
    assert errors["breaks"][2:] == ["overloaded_error", "混んでいます"]
    # Its fallback is no Claude: both are asked by chat, which has no thinking on a budget.
    assert errors["mixed"][:3] == ["BadRequestError", 400, "invalid_request_error"]
    assert errors["uncounted"][:3] == ["NotFoundError", 404, "not_found_error"]


def test_a_stream_of_claudes_is_passed_on_byte_for_byte(url, vendor):
    body = {"model": "claude", "max_tokens": 9, "stream": True}
    body |= {"messages": [{"role": "user", "content": TEXT}]}
    ours = httpx2.post(f"{url}/anthropic/v1/messages", json=body, trust_env=False)
    theirs = httpx2.post(
        f"{vendor.url}/messages", json=body | {"model": "claude-x"}, trust_env=False
    )
    assert ours.content == theirs.content
    assert ours.headers["x-hikaku-endpoint"] == "claude"
