"""Opens the database: one pool per process, JSON written as the text it is."""

from typing import Any

import msgspec
from psycopg import Connection
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, sessionmaker

Sessions = sessionmaker[Session]
"""Makes sessions; `with sessions.begin() as session:` is one visible transaction."""

_encode = msgspec.json.Encoder().encode


def _to_text(value: object) -> str:
    return _encode(value).decode()


def open_engine(url: str, *, pool_size: int = 5) -> Engine:
    """Make the process's connection pool; dead connections are replaced when they are taken.

    Args:
        url: SQLAlchemy URL with its driver named (`Settings.sqlalchemy_url`).
        pool_size: Connections kept; as many again may open for a moment.
    """
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=30,
        json_serializer=_to_text,
        json_deserializer=msgspec.json.decode,
        connect_args={
            "connect_timeout": 5,
            "application_name": "hikaku",
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


def driver(session: Session) -> Connection[Any]:
    """Give the connection under a transaction: for COPY, and for statements run for every shard."""
    connection = session.connection().connection.driver_connection
    if not isinstance(connection, Connection):
        raise TypeError(f"psycopg 3 is needed, not {type(connection)}")
    return connection
