"""Transactions that a worker leaves open when its lease ends are ended for it."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text

from hikaku.ids import new_uuid
from hikaku.storage import shards
from hikaku.storage.connection import open_engine
from tests.support.database import sqlalchemy_url


@pytest.fixture
def worker(sessions) -> UUID:
    """One whose lease is over when we say so."""
    name = new_uuid()
    with sessions.begin() as session:
        shards.join(session, name, host="far away", pid=1, lease=timedelta(minutes=10))
    return name


def connected(url: str, name: str) -> psycopg.Connection:
    return psycopg.connect(url, application_name=name)


def end_lease(sessions, worker: UUID) -> None:
    with sessions.begin() as session:
        over = text("update worker set lease_until = clock_timestamp() where id = :worker")
        session.execute(over, {"worker": worker})


def cut_off(sessions) -> list[UUID]:
    with sessions.begin() as session:
        return shards.cut_off(session)


def copy_and_wait(connection: psycopg.Connection, meanwhile: Callable[[], bool]) -> None:
    with connection.cursor() as cursor, cursor.copy("copy t from stdin") as copy:
        copy.write(b"1\n")
        assert meanwhile()
        copy.write(b"2\n")


def test_one_in_the_midst_of_copying_and_one_that_is_idle_are_ended(sessions, hikaku_url, worker):
    name = shards.session_name(worker)
    with connected(hikaku_url, name) as copying, connected(hikaku_url, name) as idle:
        idle.execute("select pg_advisory_xact_lock(7)")
        copying.execute("create temporary table t (n int)")
        assert cut_off(sessions) == [], "its lease is good"
        end_lease(sessions, worker)
        with pytest.raises(psycopg.OperationalError):
            copy_and_wait(copying, lambda: cut_off(sessions) == [worker])
        with pytest.raises(psycopg.OperationalError):
            idle.execute("select 1")


def test_the_living_and_what_was_begun_since_are_left_alone(sessions, hikaku_url, worker):
    living = new_uuid()
    with sessions.begin() as session:
        shards.join(session, living, host="here", pid=2, lease=timedelta(minutes=1))
    with (
        connected(hikaku_url, shards.session_name(living)) as busy,
        connected(hikaku_url, shards.session_name(worker)) as woken,
        connected(hikaku_url, shards.session_name(worker)) as at_rest,
    ):
        at_rest.execute("select 1")
        at_rest.commit()
        busy.execute("select 1")
        end_lease(sessions, worker)
        assert cut_off(sessions) == []
        woken.execute("select 1")
        assert cut_off(sessions) == []
        for one in (busy, woken, at_rest):
            assert one.execute("select 1").fetchone() == (1,)


def test_a_transaction_without_a_word_is_ended_in_time(hikaku_url):
    engine = open_engine(sqlalchemy_url(hikaku_url), idle=timedelta(milliseconds=200))
    with engine.connect() as connection, connected(hikaku_url, "watch") as watch:
        connection.execute(text("select pg_advisory_xact_lock(8)"))
        watch.execute("set lock_timeout = '60s'")
        watch.execute("select pg_advisory_xact_lock(8)")
        connection.invalidate()
    engine.dispose()
