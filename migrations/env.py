"""Alembic's entry: which metadata, which connection, what is not compared."""

import re

from alembic import context
from sqlalchemy import Connection, create_engine

from hikaku.storage.tables import Base

_PARTITION = re.compile(r"_b\d+$")
"""Partitions are opened at run time, one per bucket; only their parents are part of the schema."""


def _is_schema(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and name is not None and _PARTITION.search(name))


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=_is_schema,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    _migrate(given)
else:
    engine = create_engine(context.config.get_main_option("sqlalchemy.url", ""))
    with engine.connect() as opened:
        _migrate(opened)
    engine.dispose()
