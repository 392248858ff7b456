"""Real Postgres and Valkey, started once, and a migrated database for each test."""

from tests.support.database import hikaku_url, migrated_postgres, reader, sessions
from tests.support.services import database_url, postgres, valkey

__all__ = [
    "database_url",
    "hikaku_url",
    "migrated_postgres",
    "postgres",
    "reader",
    "sessions",
    "valkey",
]
