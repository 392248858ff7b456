"""What `hikaku up` decides before anything starts."""

from pathlib import Path

import pytest
import yaml

from stack.endpoints import write_endpoints
from stack.errors import StackError
from stack.models.registry import MODELS, find
from stack.plan import Choices, own_programs


def test_services_given_by_url_are_not_embedded():
    outside = {"HIKAKU_DATABASE_URL": "postgresql://db/x", "HIKAKU_REDIS_URL": "redis://r/0"}
    choices = Choices.of(outside, workers=1)
    assert [p for p in ("postgres", "valkey", "mlflow", "models") if choices.runs(p)] == [
        "mlflow",
        "models",
    ]


def test_with_all_three_services_given_nothing_is_embedded():
    outside = {
        "HIKAKU_DATABASE_URL": "postgresql://db/x",
        "HIKAKU_REDIS_URL": "redis://r/0",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    }
    choices = Choices.of(outside, workers=1)
    assert not any(choices.runs(p) for p in ("postgres", "valkey", "mlflow", "models"))


def test_an_empty_variable_is_not_a_service():
    assert Choices.of({"HIKAKU_REDIS_URL": ""}, workers=1).runs("valkey")


def test_every_program_starts_after_programs_that_are_there():
    programs = own_programs(3, {}, "http://127.0.0.1:1")
    names = ["postgres", "valkey"]
    for program in programs:
        assert set(program.after) <= set(names)
        names.append(program.name)
    assert [name for name in names if name.startswith("worker")] == [
        "worker-1",
        "worker-2",
        "worker-3",
    ]


def test_the_written_endpoints_are_read_by_the_gateway(tmp_path):
    config = pytest.importorskip("gateway.config")
    path = tmp_path / "gateway.yaml"
    write_endpoints(path, list(MODELS.values()), "http://127.0.0.1:8422")
    catalog = config.load(path, {})
    assert set(catalog.endpoints) == {*MODELS, "echo", "chaos"}
    assert all(endpoint.unavailable is None for endpoint in catalog.endpoints.values())


def test_without_a_model_server_no_local_model_is_offered(tmp_path):
    path = tmp_path / "gateway.yaml"
    write_endpoints(path, list(MODELS.values()), None)
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [entry["name"] for entry in document["endpoints"]] == ["echo", "chaos"]


def test_every_registered_model_is_pinned_by_content_and_licensed():
    for model in MODELS.values():
        assert len(model.sha256) == 64
        assert model.licence == "Apache-2.0"
        assert model.sources


def test_an_unknown_model_is_answered_with_those_there_are():
    with pytest.raises(StackError, match="smollm2-135m-instruct"):
        find("gpt-9")


def test_a_gateway_file_beside_the_stack_is_the_users_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Choices.of({}, workers=1).gateway_config is None
    Path("gateway.yaml").write_text("endpoints: []\n", encoding="utf-8")
    assert Choices.of({}, workers=1).gateway_config == tmp_path / "gateway.yaml"
