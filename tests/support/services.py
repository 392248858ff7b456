"""Real Postgres and Valkey for tests: started once a session, in a folder of their own.

In a conftest.py: `from tests.support.services import database_url, postgres, valkey`.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from stack.postgres import EmbeddedPostgres
from stack.valkey import EmbeddedValkey


@contextmanager
def short_directory() -> Iterator[Path]:
    """A folder with a path short enough for Unix sockets (pytest's own are not)."""
    directory = Path(tempfile.mkdtemp(prefix="hk-", dir="/tmp"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def running_postgres() -> Iterator[EmbeddedPostgres]:
    with short_directory() as directory:
        service = EmbeddedPostgres(directory / "pg")
        service.start()
        try:
            yield service
        finally:
            service.stop()


@contextmanager
def running_valkey() -> Iterator[EmbeddedValkey]:
    with short_directory() as directory:
        service = EmbeddedValkey(directory / "valkey")
        service.start()
        try:
            yield service
        finally:
            service.stop()


@contextmanager
def fresh_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """URL of an empty database that is dropped afterwards, with whoever is connected to it."""
    name = f"t_{uuid4().hex}"
    with psycopg.connect(postgres.url_of("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield postgres.url_of(name)
    finally:
        with psycopg.connect(postgres.url_of("postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    with running_postgres() as service:
        yield service


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    with running_valkey() as service:
        yield service


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    with fresh_database(postgres) as url:
        yield url
