"""MLflow's and LangChain's clients of three generations against one gateway process."""

import json
import subprocess
from collections.abc import Iterator

import httpx2
import pytest

from tests.clients.environments import run
from tests.support.gateway_server import serving

TEXT = "りんごは何色ですか？ 👩‍👩‍👧 か\u3099 שלום"
CONFIG = """
routes:
  - {name: old-chat, route_type: llm/v1/chat, model: {provider: echo, name: echo-1}}
  - {name: old-text, route_type: llm/v1/completions, model: {provider: echo, name: echo-1}}
  - {name: old-vectors, route_type: llm/v1/embeddings, model: {provider: echo, name: echo-1}}
  - name: split
    task_type: llm/v1/chat
    destinations:
      - {name: new-chat, traffic_percentage: 50}
      - {name: old-chat, traffic_percentage: 50}
endpoints:
  - {name: new-chat, endpoint_type: llm/v1/chat, model: {provider: echo, name: echo-1}}
  - {name: new-text, endpoint_type: llm/v1/completions, model: {provider: echo, name: echo-1}}
  - {name: new-vectors, endpoint_type: llm/v1/embeddings, model: {provider: echo, name: echo-1}}
  - name: keyless
    endpoint_type: llm/v1/chat
    model: {provider: openai, name: gpt-4o, config: {openai_api_key: $NOT_SET_ANYWHERE}}
"""
LISTED = [
    "keyless", "new-chat", "new-text", "new-vectors", "old-chat", "old-text", "old-vectors",
]  # fmt: skip


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = tmp_path_factory.mktemp("surfaces") / "gateway.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    with serving(config) as running:
        yield running


def test_mlflow_2_8_and_its_langchain_need_nothing_but_the_url(url):
    found = run("mlflow28", "mlflow28.py", url, TEXT)
    assert found["routes"] == LISTED
    assert found["fluent routes"] == len(LISTED)
    assert found["route"] == [
        "llm/v1/chat", "echo-1", "echo", f"{url}/gateway/old-chat/invocations",
    ]  # fmt: skip
    for name in ("old-chat", "new-chat"):
        assert found[name]["candidates"][0]["message"] == {"role": "assistant", "content": TEXT}
        assert "choices" not in found[name]
    assert found["text"]["candidates"][0]["metadata"] == {"finish_reason": "length"}
    assert found["text"]["metadata"]["output_tokens"] == 3
    assert found["vectors"] == 2
    assert found["chain"] == TEXT
    assert found["chat"] == TEXT
    assert found["query vector"] > 1
    errors = found["errors"]
    assert "501" in errors["limits"]
    assert "501" in errors["set limits"]
    assert "404" in errors["unknown"]
    assert "candidate_count" in errors["n"]
    assert "The route 'nobody' is not present" in errors["missing"]


def test_mlflow_2_22_reads_choices_and_its_langchain_candidates(url):
    found = run("mlflow222", "mlflow222.py", url, TEXT)
    assert found["routes"] == LISTED
    assert found["endpoints"] == LISTED
    assert found["route"] == "llm/v1/chat"
    for name in ("old-chat", "new-chat", "split", "predict"):
        assert found[name]["choices"][0]["message"]["content"] == TEXT
    assert found["candidates"] == TEXT
    assert found["vectors"] == 2


def test_mlflow_3_and_todays_langchain_need_nothing_but_the_url(url):
    found = run("mlflow3", "mlflow3.py", url, TEXT)
    assert found["endpoints"] == LISTED
    kind, model, address, limit = found["endpoint"]
    assert (kind, model, limit) == ("llm/v1/chat", "echo-1", None)
    assert address.endswith("/gateway/new-chat/invocations")
    for name in ("new-chat", "old-chat", "split"):
        assert found[name]["choices"][0]["message"]["content"] == TEXT
        assert "candidates" not in found[name]
    assert found["chat"] == TEXT
    assert found["text"] == TEXT
    assert found["vectors"][0] > 1
    assert found["vectors"][1] == 45
    assert found["served"] == TEXT
    assert "split" in found["served models"]
    errors = found["errors"]
    assert all(once for _, once in errors.values())
    assert "404" in errors["unknown"][0]
    assert "The endpoint 'nobody' is not present" in errors["not listed"][0]
    assert "422" in errors["wrong"][0]
    assert "NOT_SET_ANYWHERE" in errors["keyless"][0]


def test_curl_sends_japanese_and_gets_it_back_unescaped(url):
    body = json.dumps({"messages": [{"role": "user", "content": TEXT}]}, ensure_ascii=False)
    done = subprocess.run(
        ["curl", "--silent", "--noproxy", "*", f"{url}/gateway/new-chat/invocations",
         "-H", "Content-Type: application/json", "--data-binary", "@-"],
        input=body.encode(), capture_output=True, check=True, timeout=20,
    )  # fmt: skip
    assert TEXT.encode() in done.stdout


def test_paths_of_the_third_generation(url):
    with httpx2.Client(base_url=url, trust_env=False) as http:
        assert http.get("/api/3.0/gateway/endpoint/new-chat").json()["name"] == "new-chat"
        assert http.get("/api/3.0/gateway/route/split").json() == {
            "name": "split",
            "task_type": "llm/v1/chat",
            "destinations": [
                {"name": "new-chat", "traffic_percentage": 50},
                {"name": "old-chat", "traffic_percentage": 50},
            ],
            "routing_strategy": "TRAFFIC_SPLIT",
        }
        assert http.get("/api/3.0/gateway/route/new-chat").status_code == 404
        embedded = http.post("/gateway/new-vectors/mlflow/invocations", json={"input": TEXT})
        assert embedded.json()["object"] == "list"
        neither = http.post("/gateway/new-chat/mlflow/invocations", json={"prompt": "x"})
        assert (neither.status_code, list(neither.json())) == (400, ["detail"])
        far = http.get("/api/2.0/endpoints/", params={"page_token": "eyJpbmRleCI6IDV9"})
        assert len(far.json()["endpoints"]) == 2
        assert http.get("/api/2.0/endpoints/", params={"page_token": "x"}).status_code == 400
