"""Paths that no client library calls in its tests: passthrough, documents, keys, headers."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.clients.vendor import Vendor, selling
from tests.support.gateway_server import serving

TEXT = "りんごは何色ですか？"
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": TEXT}]}
KEY = "鍵k"
CONFIG = """
endpoints:
  - name: chat
    endpoint_type: llm/v1/chat
    passthrough: true
    model: {provider: openai, name: m, config: {openai_api_key: sk-of-ours-1, openai_api_base: "%(url)s"}}
  - {name: shut, endpoint_type: llm/v1/chat, model: {provider: openai-compatible, name: m, config: {api_base: "%(url)s"}}}
  - {name: 日本語, endpoint_type: llm/v1/completions, model: {provider: echo}}
  - {name: vectors, endpoint_type: llm/v1/embeddings, model: {provider: echo}}
  - name: twice
    endpoint_type: llm/v1/chat
    limit: {calls: 2, renewal_period: year}
    model: {provider: echo}
routes:
  - {name: old, route_type: llm/v1/embeddings, model: {provider: echo}}
  - name: split
    task_type: llm/v1/chat
    destinations: [{name: chat, traffic_percentage: 25}, {name: shut, traffic_percentage: 75}]
"""  # noqa: E501 - one endpoint a line


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    with selling() as running:
        yield running


@pytest.fixture(scope="module")
def url(vendor: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = tmp_path_factory.mktemp("paths") / "gateway.yaml"
    config.write_text(CONFIG % {"url": vendor.url}, encoding="utf-8")
    with serving(config) as running:
        yield running


@pytest.fixture
def http(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, trust_env=False, timeout=20) as client:
        yield client


@pytest.mark.parametrize("path", ["/gateway/chat/passthrough/", "/gateway/proxy/chat/"])
def test_a_request_nobody_knows_is_passed_through_under_our_key(http, vendor, path):
    answer = http.post(
        path + "images/generations?n=2&タグ=x",
        json={"prompt": TEXT},
        headers={
            "authorization": "Bearer of-the-caller", "x-api-key": "of-the-caller",
            "cookie": "session=1", "x-theirs": "kept", "connection": "keep-alive, x-hop",
            "x-hop": "1", "openai-beta": "v2", "content-encoding": "theirs",
        },
    )  # fmt: skip
    assert (answer.status_code, answer.headers["x-vendor"]) == (202, "it")
    assert answer.json()["said"] == {"prompt": TEXT}
    assert answer.json()["query"] == "n=2&%E3%82%BF%E3%82%B0=x"
    assert vendor.paths[-1] == "/v1/images/generations"
    sent = vendor.headers[-1]
    assert sent["authorization"] == "Bearer sk-of-ours-1"
    assert (sent["x-theirs"], sent["openai-beta"]) == ("kept", "v2")
    assert sent["content-encoding"] == "theirs"  # The body goes on as it came.
    assert not {"cookie", "x-hop", "x-api-key"} & sent.keys()
    assert http.get("/gateway/chat/passthrough/files").status_code == 202
    assert http.delete("/gateway/chat/passthrough/files/f-1").status_code == 202


def test_nothing_else_passes_through(http, vendor):
    made = len(vendor.paths)
    refused = {
        "/gateway/shut/passthrough/files": 403,
        "/gateway/nobody/passthrough/files": 404,
        "/gateway/chat/passthrough/%2e%2e/admin": 400,
        "/gateway/chat/passthrough/a//b": 400,
    }
    for path, status in refused.items():
        answer = http.get(path)
        assert (answer.status_code, list(answer.json())) == (status, ["detail"]), path
    assert len(vendor.paths) == made


def test_a_vendor_that_has_responses_is_sent_them_as_they_came(http, vendor):
    asked = {"model": "chat", "input": TEXT, "previous_response_id": "resp_0", "store": True}
    answer = http.post("/v1/responses", json=asked).json()
    assert answer["id"] == "resp_vendor"
    assert vendor.paths[-1] == "/v1/responses"
    assert vendor.asked[-1] == asked | {"model": "m"}
    streamed = http.post("/v1/responses", json=asked | {"stream": True}).text
    assert [line for line in streamed.splitlines() if line.startswith("event:")] == [
        "event: response.created", "event: response.completed",
    ]  # fmt: skip
    # One of its destinations has it, the other has not: asked by chat, both can answer.
    shared = http.post("/v1/responses", json={"model": "split", "input": TEXT}).json()
    assert shared["output"][0]["content"][0]["text"] == TEXT
    assert vendor.paths[-1] == "/v1/chat/completions"


def test_an_answer_says_under_which_id_and_how_long(http):
    given = {"x-request-id": "mine-1"}
    bodies: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": ASKED | {"model": "chat"},
        "/gateway/chat/invocations": ASKED,
        "/anthropic/v1/messages": ASKED | {"model": "chat", "max_tokens": 5},
        "/v1/responses": {"model": "shut", "input": TEXT},
    }
    for path, body in bodies.items():
        for stream in (False, True):
            answer = http.post(path, json={**body, "stream": stream}, headers=given)
            assert answer.headers["x-request-id"] == "mine-1", path
            assert 0 < float(answer.headers["x-hikaku-overhead-ms"]) < 30_000
            assert answer.headers["x-hikaku-attempts"] == "1"
    evil = http.post("/v1/chat/completions", json=ASKED, headers={"x-request-id": "a b"})
    assert "a b" not in evil.headers.get("x-request-id", "")


def test_the_document_names_every_endpoint_with_a_request_to_try(http):
    document = http.get("/openapi.json").json()
    tried = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"]
            assert operation["description"]
            if method == "post":
                tried[path] = operation["requestBody"]["content"]["application/json"]["example"]
    names = ("chat", "shut", "日本語", "vectors", "twice", "old", "split")
    assert {f"/gateway/{name}/invocations" for name in names} <= tried.keys()
    assert tried["/gateway/old/invocations"] == {"text": ["an apple", "a pear"]}
    assert "25% `chat`" in document["paths"]["/gateway/split/invocations"]["post"]["description"]
    for path, example in tried.items():
        if "twice" not in path:
            assert http.post(path, json=example).status_code == 200, path


def test_swagger_comes_from_here_alone(http):
    assert http.get("/").headers["location"] == "/docs"
    page = http.get("/docs")
    assert "https://" not in page.text
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js"):
        assert http.get(f"/docs/{name}").status_code == 200
    assert http.get("/docs/LICENSE").status_code == 404


def test_unknown_paths_are_refused_in_the_words_of_their_surface(http):
    assert http.get("/nowhere").json() == {"detail": "Not Found"}
    assert http.get("/v1/files").json()["error"]["message"] == "Not Found"
    assert http.get("/gateway/chat/invocations").status_code == 405
    said = http.post("/anthropic/v1/nothing").json()
    assert (said["type"], said["error"]["type"]) == ("error", "not_found_error")


def test_a_call_limit_of_a_generation_answers_as_it_did(http):
    for prefix in ("gateway", "endpoints"):
        statuses = [
            http.post(f"/{prefix}/twice/invocations", json=ASKED).status_code for _ in range(3)
        ]
        assert statuses == [200, 200, 429]


def test_the_key_is_found_wherever_a_client_puts_it(tmp_path):
    config = tmp_path / "gateway.yaml"
    text = "endpoints: [{name: chat, endpoint_type: llm/v1/chat, model: {provider: echo}}]"
    config.write_text(text, encoding="utf-8")
    raw = KEY.encode()
    with (
        serving(config, {"HIKAKU_API_KEY": KEY}) as url,
        httpx2.Client(base_url=url, trust_env=False) as http,
    ):
        shown = [
            {b"authorization": b"Bearer " + raw},
            {b"authorization": b"basic " + base64.b64encode(b"anyone:" + raw)},
            {b"x-api-key": raw},
            {b"api-key": raw},
        ]
        for headers in shown:
            assert http.get("/v1/models", headers=headers).status_code == 200, headers
        for headers in ({}, {b"x-api-key": b"k"}, {b"authorization": b"Basic " + raw}):
            refused = http.post("/anthropic/v1/messages", json={}, headers=headers)
            assert refused.status_code == 401
            assert refused.json()["error"]["type"] == "authentication_error"


def test_without_a_key_no_page_of_another_site_can_ask(http, url):
    """A form or a script elsewhere, and a foreign name that leads to 127.0.0.1."""
    own = url.removeprefix("http://")
    ask = ASKED | {"model": "chat"}
    for headers, status in (
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"host": "evil.example"}, 400),
        ({"host": f"evil.example:{own.partition(':')[2]}"}, 400),
        ({"origin": url, "sec-fetch-site": "same-origin"}, 200),
        ({"host": f"localhost:{own.partition(':')[2]}"}, 200),
        ({"host": "[::1]:5000"}, 200),
    ):
        assert http.post("/v1/chat/completions", json=ask, headers=headers).status_code == status
    assert http.get("/v1/models", headers={"host": "evil.example"}).status_code == 400
    assert http.get("/v1/models", headers={"origin": "https://evil.example"}).status_code == 200
    assert http.get("/health", headers={"host": "10.0.0.7"}).status_code == 200


def test_a_gateway_behind_a_proxy_answers_to_the_name_it_is_told(tmp_path):
    config = tmp_path / "gateway.yaml"
    text = "endpoints: [{name: chat, endpoint_type: llm/v1/chat, model: {provider: echo}}]"
    config.write_text(text, encoding="utf-8")
    named = {"host": "models.example"}
    with (
        serving(config, {"HIKAKU_PUBLIC_URL": "https://Models.example/x"}) as url,
        httpx2.Client(base_url=url, trust_env=False, headers=named) as http,
    ):
        assert http.get("/v1/models").status_code == 200
        page = {"origin": "https://models.example"}
        ask = ASKED | {"model": "chat"}
        assert http.post("/v1/chat/completions", json=ask, headers=page).status_code == 200
