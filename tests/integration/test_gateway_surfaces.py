"""Real clients against the gateway as a process of its own."""

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.support.gateway_server import ROOT, serving

TEXT = "りんごは何色ですか？ 👩‍👩‍👧 か\u3099 \u2028 שלום"
MESSAGES: Any = [{"role": "user", "content": TEXT}]
OLD_AGENT = {"user-agent": "mlflow-python-client/2.8.1"}
CONFIG = """
routes:
  - name: old-chat
    route_type: llm/v1/chat
    model: {provider: echo, name: echo-1}
  - name: old-text
    route_type: llm/v1/completions
    model: {provider: echo, name: echo-1}
  - name: old-vectors
    route_type: llm/v1/embeddings
    model: {provider: echo, name: echo-1}
  - name: split
    task_type: llm/v1/chat
    destinations: [{name: chat, traffic_percentage: 50}, {name: old-chat, traffic_percentage: 50}]
endpoints:
  - name: chat
    endpoint_type: llm/v1/chat
    model: {provider: echo, name: echo-1}
  - name: text
    endpoint_type: llm/v1/completions
    model: {provider: echo, name: echo-1}
  - name: vectors
    endpoint_type: llm/v1/embeddings
    model: {provider: echo, name: echo-1}
  - name: twice
    endpoint_type: llm/v1/chat
    limit: {calls: 2, renewal_period: year}
    model: {provider: echo, name: echo-1}
  - name: weather
    endpoint_type: llm/v1/chat
    model:
      provider: chaos
      config:
        rates: {rate_limited: 0.2, server_error: 0.1, reset: 0.1, truncated: 0.1, malformed: 0.1}
        retry_after_s: 0.01
        log: %(log)s
    retry: {max_attempts: 30, base: 0.01}
  - name: limited
    endpoint_type: llm/v1/chat
    model: {provider: chaos, config: {rates: {rate_limited: 1}, retry_after_s: 1}}
    retry: {max_attempts: 1}
  - name: hanging
    endpoint_type: llm/v1/chat
    model: {provider: chaos, config: {rates: {hang: 1}, log: %(log)s}}
    timeouts: {total: 60}
  - name: slow
    endpoint_type: llm/v1/chat
    model: {provider: chaos, config: {latency: {median_ms: 60000}, log: %(log)s}}
    limits: {concurrency: 1}
  - name: keyless
    endpoint_type: llm/v1/chat
    model: {provider: openai, name: gpt-4o, config: {openai_api_key: $NOT_SET_ANYWHERE}}
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway") / "calls.jsonl"


@pytest.fixture(scope="module")
def url(log: Path) -> Iterator[str]:
    config = log.with_name("gateway.yaml")
    config.write_text(CONFIG % {"log": log}, encoding="utf-8")
    with serving(config) as running:
        yield running


@pytest.fixture
def http(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture
def sdk(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        yield client


def test_the_openai_sdk_chats_completes_embeds_and_lists(sdk):
    answer = sdk.chat.completions.create(model="chat", messages=MESSAGES)
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert sdk.completions.create(model="text", prompt=TEXT).choices[0].text == TEXT
    vectors = sdk.embeddings.create(model="vectors", input=[TEXT, "b"], encoding_format="float")
    assert len(vectors.data) == 2
    assert {model.id for model in sdk.models.list()} >= {"chat", "old-text", "split"}
    assert sdk.models.retrieve("chat").id == "chat"


@pytest.mark.parametrize("model", ["chat", "weather", "split"])
def test_the_openai_sdk_streams_byte_for_byte(sdk, model):
    stream = sdk.chat.completions.create(
        model=model, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert said == TEXT
    assert chunks[-1].usage is not None
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    text = sdk.completions.create(model="text", prompt=TEXT, stream=True)
    assert "".join(chunk.choices[0].text for chunk in text) == TEXT


def test_bad_weather_is_ridden_out_and_every_call_is_counted(sdk, log):
    before = _calls(log)
    for number in range(30):
        asked = f"{TEXT}{number}"
        messages: Any = [{"role": "user", "content": asked}]
        answer = sdk.chat.completions.create(model="weather", messages=messages)
        assert answer.choices[0].message.content == asked
    made = _calls(log) - before
    assert made["answer 200"] == 30
    assert made["call"] == made.total() - made["call"]
    assert made["call"] > 40


def test_the_openai_sdk_raises_its_own_errors(sdk):
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.chat.completions.create(model="chta", messages=MESSAGES)
    assert missing.value.code == "model_not_found"
    assert "did you mean `chat`" in str(missing.value)
    with pytest.raises(openai.RateLimitError) as limited:
        sdk.chat.completions.create(model="limited", messages=MESSAGES)
    assert limited.value.response.headers["retry-after"] == "1"
    with pytest.raises(openai.BadRequestError, match="made_up"):
        sdk.chat.completions.create(model="chat", messages=MESSAGES, extra_body={"made_up": 1})
    with pytest.raises(openai.RateLimitError):
        sdk.chat.completions.create(model="limited", messages=MESSAGES, stream=True)


def test_a_permanent_failure_is_not_retried_by_the_sdk(url):
    asked: list[httpx2.Request] = []
    counting = httpx2.Client(event_hooks={"request": [asked.append]}, trust_env=False)
    made: Any = {"base_url": f"{url}/v1", "api_key": "any", "max_retries": 5}
    with (
        openai.OpenAI(http_client=counting, **made) as sdk,
        pytest.raises(openai.APIStatusError, match="NOT_SET_ANYWHERE") as caught,
    ):
        sdk.chat.completions.create(model="keyless", messages=MESSAGES)
    assert caught.value.status_code == 424
    assert len(asked) == 1


def test_langchains_request_of_2023_with_its_nulls_is_answered_with_candidates(http):
    body = {
        "prompt": TEXT, "temperature": 0.0, "candidate_count": 1, "stop": None,
        "max_tokens": None, "top_p": 0.1,
    }  # fmt: skip
    answer = http.post("/gateway/old-text/invocations", json=body)
    assert answer.status_code == 200
    assert answer.json() == {
        "candidates": [{"text": TEXT, "metadata": {"finish_reason": "stop"}}],
        "metadata": {
            "input_tokens": answer.json()["metadata"]["input_tokens"],
            "output_tokens": answer.json()["metadata"]["output_tokens"],
            "total_tokens": answer.json()["metadata"]["total_tokens"],
            "model": "echo-1",
            "route_type": "llm/v1/completions",
        },
    }
    assert TEXT.encode() in answer.content


def test_mlflows_client_of_2_8_gets_its_own_dialect_on_every_route(http):
    chat = http.post("/gateway/chat/invocations", json={"messages": MESSAGES}, headers=OLD_AGENT)
    assert chat.json()["candidates"][0]["message"] == {"role": "assistant", "content": TEXT}
    assert "choices" not in chat.json()
    vectors = http.post("/gateway/old-vectors/invocations", json={"text": [TEXT]})
    assert len(vectors.json()["embeddings"]) == 1
    assert vectors.json()["metadata"]["output_tokens"] == 0
    wrong = http.post(
        "/gateway/chat/invocations", json={"messages": MESSAGES, "n": 1}, headers=OLD_AGENT
    )
    assert wrong.status_code == 422
    assert "candidate_count" in wrong.json()["detail"]


def test_without_a_sign_of_the_generation_an_old_route_answers_both(http):
    body = http.post("/gateway/old-chat/invocations", json={"messages": MESSAGES}).json()
    assert body["candidates"][0]["message"]["content"] == TEXT
    assert body["choices"][0]["message"]["content"] == TEXT
    assert body["metadata"]["total_tokens"] == body["usage"]["total_tokens"]


@pytest.mark.parametrize("prefix", ["gateway", "endpoints"])
def test_endpoints_of_the_new_generation_answer_with_choices(http, prefix):
    asked = {"messages": MESSAGES, "temperature": 0.0, "max_tokens": None}
    body = http.post(f"/{prefix}/chat/invocations", json=asked).json()
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"] == TEXT
    assert "candidates" not in body


MLFLOW = """
import json, sys
from mlflow.deployments import get_deploy_client
client = get_deploy_client(sys.argv[1])
inputs = {"messages": [{"role": "user", "content": sys.argv[2]}], "temperature": 0.0}
answer = client.predict(endpoint="chat", inputs=inputs)
names = [endpoint.name for endpoint in client.list_endpoints()]
print(json.dumps([names, client.get_endpoint("chat").endpoint_type, answer["choices"][0]]))
"""


def test_mlflows_own_client_lists_and_predicts(url):
    # In a process of its own: importing mlflow warns, and warnings are errors here.
    done = subprocess.run(
        [sys.executable, "-c", MLFLOW, url, TEXT], capture_output=True, text=True, check=True
    )
    names, kind, choice = json.loads(done.stdout.splitlines()[-1])
    assert "chat" in names
    assert kind == "llm/v1/chat"
    assert choice["message"]["content"] == TEXT


def test_mlflow_streams_end_with_usage_and_done(http):
    asked = {"messages": MESSAGES, "stream": True}
    answer = http.post("/endpoints/chat/invocations", json=asked)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    frames = answer.content.split(b"\n\n")
    assert frames[-2:] == [b"data: [DONE]", b""]
    last = json.loads(frames[-3].removeprefix(b"data: "))
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] > 0


def test_lists_are_shaped_as_the_clients_expect(http):
    page = http.get("/api/2.0/endpoints/").json()
    assert page["next_page_token"] is None
    by_name = {endpoint["name"]: endpoint for endpoint in page["endpoints"]}
    assert "split" not in by_name
    assert by_name["chat"] == {
        "name": "chat",
        "endpoint_type": "llm/v1/chat",
        "model": {"name": "echo-1", "provider": "echo"},
        "endpoint_url": "/gateway/chat/invocations",
        "limit": None,
    }
    assert http.get("/api/2.0/endpoints/chat").json() == by_name["chat"]
    route = http.get("/api/2.0/gateway/routes/old-chat").json()
    assert route["route_type"] == "llm/v1/chat"
    assert route["route_url"] == "/gateway/old-chat/invocations"
    assert "routes" in http.get("/api/2.0/gateway/routes/").json()
    assert http.get("/api/2.0/endpoints").status_code == 307
    assert http.get("/api/2.0/endpoints/limits/chat").status_code == 501


def test_mlflows_errors_are_mlflows(http):
    missing = http.post("/gateway/nope/invocations", json={"messages": MESSAGES})
    assert (missing.status_code, list(missing.json())) == (404, ["detail"])
    for body in (b"{", b"[]", b'{"messages": "x"}', b'{"model": "m", "messages": []}', b"{}"):
        answer = http.post("/endpoints/chat/invocations", content=body)
        assert answer.status_code == 422, body
        assert "detail" in answer.json()
    limited = http.post("/endpoints/limited/invocations", json={"messages": MESSAGES})
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "1")
    assert limited.json() == {"detail": "rate limited by chaos"}


def test_mlflows_call_limit_counts_each_prefix_by_itself(http):
    for prefix in ("gateway", "endpoints"):
        statuses = [
            http.post(f"/{prefix}/twice/invocations", json={"messages": MESSAGES}).status_code
            for _ in range(3)
        ]
        assert statuses == [200, 200, 429]
    over = http.post("/gateway/twice/invocations", json={"messages": MESSAGES})
    assert over.json() == {"error": "Rate limit exceeded: 2 per 1 year"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_cancels_the_call_and_frees_its_place(url, log, stream):
    before = _calls(log)["call"]
    for expected in (1, 2):  # The second can only begin when the place of the first is free.
        with asking(url, {"model": "slow", "messages": MESSAGES, "stream": stream}):
            deadline = time.monotonic() + 30
            while _calls(log)["call"] - before < expected:
                assert time.monotonic() < deadline
                time.sleep(0.02)


def asking(url: str, body: object) -> socket.socket:
    """A client that has sent its request; closed, it has left."""
    raw = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
    )
    line = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
    line.sendall(head.encode() + raw)
    return line


def test_a_key_is_demanded_everywhere_but_at_the_health_check(tmp_path):
    config = tmp_path / "gateway.yaml"
    config.write_text(CONFIG % {"log": tmp_path / "log"}, encoding="utf-8")
    with (
        serving(config, {"HIKAKU_API_KEY": "鍵k"}) as url,
        httpx2.Client(base_url=url, trust_env=False) as http,
    ):
        assert http.get("/health").json() == {"status": "OK"}
        for path in ("/v1/models", "/api/2.0/endpoints/", "/nowhere"):
            assert http.get(path).status_code == 401
            wrong = http.get(path, headers={"authorization": "Bearer k"})
            assert wrong.status_code == 401
        key = "Bearer 鍵k".encode()
        assert http.get("/v1/models", headers={b"authorization": key}).status_code == 200


def test_listening_to_the_world_without_a_key_is_refused(tmp_path):
    config = tmp_path / "gateway.yaml"
    config.write_text("endpoints: []", encoding="utf-8")
    command = [sys.executable, "-m", "gateway.main", "--config-path", str(config)]
    environ = {k: v for k, v in os.environ.items() if k != "HIKAKU_API_KEY"}
    done = subprocess.run(
        [*command, "--host", "0.0.0.0"],  # noqa: S104 - what is refused
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "HIKAKU_API_KEY" in done.stderr


def test_the_gateway_starts_without_heavy_libraries():
    code = (
        "import sys, gateway.main;"
        "heavy = {'huggingface_hub', 'httpx2', 'fastapi', 'mlflow', 'numpy', 'sqlalchemy'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def _calls(log: Path) -> Counter[str]:
    if not log.exists():
        return Counter()
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return Counter(
        "call" if line["event"] == "call" else f"answer {line['outcome']}" for line in lines
    )
