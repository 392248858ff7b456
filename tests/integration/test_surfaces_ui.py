"""The Prompt Engineering page of `mlflow server`, both generations, asking a gateway of ours.

The page asks through its own server; these are the calls it makes, as a browser makes them.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.clients.tracking_server import tracking
from tests.support.gateway_server import serving

TEXT = "りんごは何色ですか？"
CONFIG = """
routes:
  - {name: old-chat, route_type: llm/v1/chat, model: {provider: echo, name: echo-1}}
endpoints:
  - {name: new-chat, endpoint_type: llm/v1/chat, model: {provider: echo, name: echo-1}}
  - {name: new-text, endpoint_type: llm/v1/completions, model: {provider: echo, name: echo-1}}
"""
PROXY = "/ajax-api/2.0/mlflow/gateway-proxy"
SAMPLING = {"temperature": 0.01, "max_tokens": 100}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ui")


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[str]:
    config = folder / "gateway.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    with serving(config) as running:
        yield running


@pytest.fixture(scope="module", params=["mlflow28", "mlflow3"])
def page(request: pytest.FixtureRequest, gateway: str, folder: Path) -> Iterator[httpx2.Client]:
    with (
        tracking(request.param, gateway, folder) as url,
        httpx2.Client(base_url=url, trust_env=False, timeout=60) as http,
    ):
        http.headers["x-generation"] = request.param
        yield http


def test_the_page_lists_asks_and_saves(page):
    old = page.headers["x-generation"] == "mlflow28"
    listed = page.get(
        PROXY,
        params={"gateway_path": "api/2.0/gateway/routes/" if old else "api/2.0/endpoints/"},
    ).json()
    found = {entry["name"]: entry for entry in listed["routes" if old else "endpoints"]}
    assert found.keys() == {"old-chat", "new-chat", "new-text"}

    for name in ("old-chat", "new-chat", "new-text"):
        path = found[name]["route_url" if old else "endpoint_url"].removeprefix("/")
        asked = (
            {"prompt": TEXT}
            if name == "new-text"
            else {"messages": [{"content": TEXT, "role": "user"}]}
        )
        body = {"gateway_path": path, "json_data": asked | SAMPLING}
        answer = page.post(PROXY, json=body)
        assert answer.status_code == 200, answer.text
        said = answer.json()["candidates" if old else "choices"][0]
        assert (said["text"] if name == "new-text" else said["message"]["content"]) == TEXT

    experiment = page.get("/ajax-api/2.0/mlflow/experiments/get?experiment_id=0")
    assert experiment.status_code == 200
    saved = page.post(
        "/ajax-api/2.0/mlflow/runs/create-promptlab-run",
        json={
            "experiment_id": "0", "run_name": "りんご", "tags": [],
            "prompt_template": "{{object}}は何色ですか？",
            "prompt_parameters": [{"key": "object", "value": "りんご"}],
            "model_route": "new-chat",
            "model_parameters": [
                {"key": "temperature", "value": 0.01}, {"key": "max_tokens", "value": 100},
                {"key": "route_type", "value": "mlflow_deployment_endpoint"},
            ],
            "model_input": TEXT, "model_output": TEXT,
            "model_output_parameters": [{"key": "MLFLOW_latency", "value": 69.7}],
            "mlflow_version": "2.7.1",
        },
    )  # fmt: skip
    assert saved.status_code == 200, saved.text
    assert saved.json()["run"]["info"]["status"] == "FINISHED"


def test_the_page_learns_why_it_got_no_answer(page):
    body = {"gateway_path": "gateway/nobody/invocations", "json_data": {"messages": [], **SAMPLING}}
    refused = page.post(PROXY, json=body)
    assert refused.status_code >= 400
    assert "nobody" in refused.text
