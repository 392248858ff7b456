"""A migrated database for each test, copied from a template that is migrated once."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from hikaku.storage.connection import Reader, Sessions, open_engine, open_reader, open_sessions
from migrations.__main__ import upgrade
from stack.postgres import EmbeddedPostgres

TEMPLATE = "t_template"


def sqlalchemy_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture(scope="session")
def migrated_postgres(postgres: EmbeddedPostgres) -> EmbeddedPostgres:
    with psycopg.connect(postgres.url_of("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
    upgrade(sqlalchemy_url(postgres.url_of(TEMPLATE)))
    return postgres


@pytest.fixture
def hikaku_url(migrated_postgres: EmbeddedPostgres) -> Iterator[str]:
    """URL of a database of its own with the newest schema."""
    name = f"t_{uuid4().hex}"
    create = sql.SQL("create database {} template {}")
    drop = sql.SQL("drop database if exists {} with (force)")
    admin = migrated_postgres.url_of("postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(TEMPLATE)))
    yield migrated_postgres.url_of(name)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(drop.format(sql.Identifier(name)))


@pytest.fixture
def sessions(hikaku_url: str) -> Iterator[Sessions]:
    engine = open_engine(sqlalchemy_url(hikaku_url))
    yield open_sessions(engine)
    engine.dispose()


@pytest.fixture
def reader(hikaku_url: str) -> Iterator[Reader]:
    opened = open_reader(sqlalchemy_url(hikaku_url))
    yield opened
    opened.close()
