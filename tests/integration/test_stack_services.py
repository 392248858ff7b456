"""Embedded Postgres and Valkey: what they hold survives SIGKILL; where and as whom they run."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from stack import postgres as embedded
from stack.postgres import EmbeddedPostgres
from stack.valkey import EmbeddedValkey
from tests.support.services import running_postgres, running_valkey, short_directory

ROOT = Path(__file__).parents[2]


def one(connection, query):
    [(value,)] = connection.execute(query).fetchall()
    return value


def rows(url):
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT word FROM kept ORDER BY word").fetchall()


def test_postgres_keeps_committed_rows_through_sigkill():
    with running_postgres() as service:
        with psycopg.connect(service.url) as connection:
            connection.execute("CREATE TABLE kept (word text)")
            connection.execute("INSERT INTO kept VALUES ('りんご'), ('𠮷')")
        service.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(service.url)
        service.start()
        assert rows(service.url) == [("りんご",), ("𠮷",)]


def test_postgres_is_durable_and_listens_on_its_socket_only():
    with running_postgres() as service, psycopg.connect(service.url) as connection:
        shown = {
            name: one(connection, f"SHOW {name}")
            for name in ("fsync", "synchronous_commit", "listen_addresses", "server_encoding",
                         "unix_socket_permissions")
        }  # fmt: skip
        databases = {n for (n,) in connection.execute("SELECT datname FROM pg_database")}
    assert shown == {
        "fsync": "on",
        "synchronous_commit": "on",
        "listen_addresses": "",
        "server_encoding": "UTF8",
        "unix_socket_permissions": "0700",
    }
    assert {"hikaku", "mlflow"} <= databases


def test_a_cluster_whose_making_was_interrupted_is_made_again():
    with short_directory() as directory:
        (directory / "pg" / "cluster.new").mkdir(parents=True)
        (directory / "pg" / "cluster.new" / "PG_VERSION").write_text("18\n")
        service = EmbeddedPostgres(directory / "pg")
        service.start()
        try:
            with psycopg.connect(service.url) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        finally:
            service.stop()


def test_postgres_in_a_folder_too_deep_for_a_socket_still_starts(tmp_path):
    deep = tmp_path / ("deep" * 30)
    service = EmbeddedPostgres(deep)
    service.start()
    try:
        assert str(deep) not in service.url
        with psycopg.connect(service.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        service.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_without_user_namespaces_runs_postgres_as_nobody(monkeypatch):
    monkeypatch.setattr(embedded, "_namespaces_work", lambda: False)
    with running_postgres() as service, psycopg.connect(service.url) as connection:
        pid = connection.info.backend_pid
        assert os.stat(f"/proc/{pid}").st_uid == 65534  # noqa: PTH116


@pytest.mark.skipif(
    os.geteuid() != 0 or not embedded._namespaces_work(), reason="root is needed to become another"
)
def test_an_ordinary_user_runs_both():
    script = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
import psycopg, redis, os
from tests.support.services import running_postgres, running_valkey
with running_postgres() as pg, running_valkey() as valkey:
    with psycopg.connect(pg.url) as connection:
        pong = redis.Redis.from_url(valkey.url).ping()
        print(os.getuid(), connection.execute('SELECT 1').fetchone(), pong)
"""
    done = subprocess.run(
        ["unshare", "-U", "--map-user=65534", "--map-group=65534", sys.executable, "-c", script],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split() == ["65534", "(1,)", "True"], done.stderr


def test_valkey_keeps_what_its_file_has_synced_through_sigkill():
    with running_valkey() as service:
        with redis.Redis.from_url(service.url) as client:
            client.lpush("queue", "りんご")
            settings = client.config_get("append*")
            assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "everysec")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        service.kill()
        service.start()
        with redis.Redis.from_url(service.url) as client:
            assert client.lrange("queue", 0, -1) == ["りんご".encode()]


def test_valkey_starts_over_the_socket_a_killed_one_left():
    with short_directory() as directory:
        service = EmbeddedValkey(directory)
        service.start()
        service.kill()
        service.start()
        service.stop()
