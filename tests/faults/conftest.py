"""Faults are made on services of their own; one arena serves all who mend what they break."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hikaku.storage.connection import Sessions, open_engine, open_sessions
from migrations.__main__ import upgrade
from stack.postgres import EmbeddedPostgres
from stack.valkey import EmbeddedValkey
from tests.support.arena import Arena, arena
from tests.support.database import sqlalchemy_url
from tests.support.disks import small_disk
from tests.support.services import running_postgres, running_valkey, short_directory

__all__ = ["small_disk"]


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


@pytest.fixture(scope="session")
def shared_arena() -> Iterator[Arena]:
    with arena() as made:
        yield made


@pytest.fixture
def place(shared_arena: Arena) -> Arena:
    """Services that are well, a scheduler, a provider in good mood, and no worker but healthy ones.

    Whatever the test before left behind is ended first.
    """
    shared_arena.recover()
    return shared_arena
