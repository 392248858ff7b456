"""The databases of a Postgres server that Hikaku and the MLflow beside it use."""

import psycopg
from psycopg import sql

DATABASES = ("hikaku", "mlflow")


def create_missing(connection: psycopg.Connection) -> None:
    """Create those of our databases that the server lacks; the connection commits by itself."""
    there = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
    for name in DATABASES:
        if name not in there:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
