"""Opens the database: a pool for transactions and one for reads, JSON as the text it is."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

T = TypeVar("T")

Sessions = sessionmaker[Session]
"""Makes sessions; `with sessions.begin() as session:` is one visible transaction."""

_encode = msgspec.json.Encoder().encode


def _to_text(value: object) -> str:
    return _encode(value).decode()


def open_engine(
    url: str, *, pool_size: int = 5, name: str = "hikaku", idle: timedelta | None = None
) -> Engine:
    """Make the process's connection pool; dead connections are replaced when they are taken.

    Args:
        url: SQLAlchemy URL with its driver named (`Settings.sqlalchemy_url`).
        pool_size: Connections kept; as many again may open for a moment.
        name: What Postgres calls its connections; 63 bytes at most.
        idle: How long a transaction may be left open without a word, until Postgres ends it: who
            froze in one, or was cut off, keeps its locks no longer. None: for ever.
    """
    engine = _open(url, pool_size, name=name, pool_pre_ping=True)
    if idle is not None:
        milliseconds = int(idle / timedelta(milliseconds=1))

        # Not when it connects: PgBouncer refuses settings that it does not know.
        @event.listens_for(engine, "connect")
        def _limit(connection: psycopg.Connection[Any], _: object) -> None:
            connection.execute(f"set idle_in_transaction_session_timeout = {milliseconds}")
            connection.commit()

    return engine


def _open(url: str, pool_size: int, *, name: str = "hikaku", **more: object) -> Engine:
    return create_engine(
        url,
        **more,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=30,
        json_serializer=_to_text,
        json_deserializer=msgspec.json.decode,
        connect_args={
            "connect_timeout": 5,
            "application_name": name,
            # A server that vanishes without a word is noticed within about 15 s.
            "keepalives_idle": 5,
            "keepalives_interval": 3,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
        },
    )


def open_sessions(engine: Engine) -> Sessions:
    """Make the factory of sessions; objects stay readable after their transaction."""
    options = {"synchronize_session": False}
    return sessionmaker(engine, expire_on_commit=False, execution_options=options)


def driver(session: Session) -> psycopg.Connection[Any]:
    """Give the connection under a transaction: for COPY, and for statements run for every shard."""
    connection = session.connection().connection.driver_connection
    if not isinstance(connection, psycopg.Connection):
        raise TypeError(f"psycopg 3 is needed, not {type(connection)}")
    return connection


class Reader:
    """Asks what is read again and again: each statement by itself, in one round trip.

    Its connections are not tried before they are used. What met a dead one is asked once more,
    which does no harm: nothing was changed.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, ask: Callable[[Connection], T]) -> T:
        """Give what `ask` gives; it may run twice."""
        try:
            return self._read(ask)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            return self._read(ask)

    def _read(self, ask: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection:
            return ask(connection)

    def close(self) -> None:
        """Close the pool."""
        self._engine.dispose()


def open_reader(url: str, *, pool_size: int = 5) -> Reader:
    """Open a pool for reads alone, beside that of `open_engine`."""
    return Reader(_open(url, pool_size, isolation_level="AUTOCOMMIT", pool_reset_on_return=None))
