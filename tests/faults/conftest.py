"""Faults are made on services that belong to one test alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hikaku.storage.connection import Sessions, open_engine, open_sessions
from migrations.__main__ import upgrade
from stack.postgres import EmbeddedPostgres
from stack.valkey import EmbeddedValkey
from tests.support.database import sqlalchemy_url
from tests.support.services import running_postgres, running_valkey, short_directory


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    with running_postgres() as service:
        upgrade(sqlalchemy_url(service.url_of("hikaku")))
        yield service


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    with running_valkey() as service:
        yield service


@pytest.fixture
def own_sessions(own_postgres: EmbeddedPostgres) -> Iterator[Sessions]:
    engine = open_engine(sqlalchemy_url(own_postgres.url_of("hikaku")))
    yield open_sessions(engine)
    engine.dispose()


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory
