"""The container set-up: compose.yaml keeps its promises, addresses are made of secrets."""

from pathlib import Path

import pytest
import yaml

from stack.container import addresses, database_url

COMPOSE = yaml.safe_load((Path(__file__).parents[3] / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_kept_small(name):
    service = SERVICES[name]
    assert "no-new-privileges:true" in service["security_opt"]
    if name != "tgi":
        assert service["cap_drop"] == ["ALL"]
        assert service["user"] in {"10001:10001", "postgres", "valkey"}
    assert not service.get("image", "").endswith(":latest")
    assert ":" in service["image"]


def test_only_the_api_and_mlflow_are_published_and_on_loopback_only():
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert set(published) == {"api", "mlflow"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_the_database_and_the_queue_live_in_a_network_without_a_way_out():
    assert SERVICES["postgres"]["networks"] == SERVICES["valkey"]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}


def test_everything_that_stays_up_has_a_health_check():
    steps = {"init", "migrations"}
    assert {name for name, one in SERVICES.items() if "healthcheck" not in one} == steps


def test_the_worker_can_be_scaled():
    assert not {"container_name", "ports", "hostname"} & set(SERVICES["worker"])


def test_addresses_are_made_of_the_secrets_and_the_users_own_win(tmp_path):
    for name in ("postgres", "valkey", "api_key"):
        (tmp_path / name).write_text(f"{name}-s/cret", encoding="utf-8")
    made = addresses(tmp_path, {"HIKAKU_REDIS_URL": "redis://mine/0", "HIKAKU_API_KEY": ""})
    assert made["HIKAKU_DATABASE_URL"] == database_url(tmp_path, "hikaku")
    assert made["HIKAKU_DATABASE_URL"] == "postgresql://hikaku:postgres-s%2Fcret@postgres/hikaku"
    assert made["HIKAKU_REDIS_URL"] == "redis://mine/0"
    assert made["HIKAKU_API_KEY"] == "api_key-s/cret"
