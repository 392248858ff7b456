"""The gateway's file as the API shows it: in use, changed, broken, mended."""

from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from api.main import create_app
from api.security import guard_for
from gateway.client import Gateway
from gateway.watching import ConfigFile, Watcher
from tests.unit.api.conftest import make_context

ECHO = "  - {name: %s, endpoint_type: llm/v1/chat, model: {provider: echo, name: m}}\n"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "gateway.yaml"
    path.write_text("endpoints:\n" + ECHO % "a", encoding="utf-8")
    return path


@pytest.fixture
def api(path):
    file = ConfigFile(path, {})
    gateway = Gateway(file.first())
    context = make_context(guard_for("127.0.0.1", None))
    followed = replace(context, gateway=gateway, watcher=Watcher(gateway, file, every=60))
    with TestClient(create_app(followed), base_url="http://127.0.0.1:8420") as opened:
        yield opened


def names(answer):
    return [endpoint["name"] for endpoint in answer.json()["data"]]


def test_a_file_is_read_on_demand(api, path):
    assert names(api.get("/api/v1/endpoints")) == ["a"]
    path.write_text("endpoints:\n" + ECHO % "a" + ECHO % "質問", encoding="utf-8")
    answer = api.post("/api/v1/endpoints/reload")
    assert answer.status_code == 200
    assert names(answer) == ["a", "質問"]
    config = answer.json()["config"]
    assert config["path"] == str(path)
    assert config["loaded_at"] is not None
    assert config["error"] is None


def test_a_file_that_cannot_be_used_is_refused_and_the_one_before_stays(api, path):
    good = path.read_text(encoding="utf-8")
    path.write_text(good + "    modle: x\n", encoding="utf-8")
    answer = api.post("/api/v1/endpoints/reload")
    assert answer.status_code == 422
    assert "line 3" in answer.json()["detail"]
    listed = api.get("/api/v1/endpoints")
    assert names(listed) == ["a"]
    assert "line 3" in listed.json()["config"]["error"]
    path.write_text(good, encoding="utf-8")
    assert api.post("/api/v1/endpoints/reload").json()["config"]["error"] is None


def test_servers_behind_an_endpoint_are_shown(api):
    (endpoint,) = api.get("/api/v1/endpoints").json()["data"]
    (replica,) = endpoint["replicas"]
    assert (replica["state"], replica["in_flight"]) == ("closed", 0)


def test_endpoints_that_come_from_no_file_cannot_be_reloaded(client):
    assert client.get("/api/v1/endpoints").json()["config"] is None
    assert client.post("/api/v1/endpoints/reload").status_code == 409
