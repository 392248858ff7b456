import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from migrations.__main__ import configuration, is_newest, newest, upgrade
from tests.support.database import sqlalchemy_url


def _tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("select tablename from pg_tables where schemaname = 'public'")
        return {name for (name,) in rows} - {"alembic_version"}


def test_there_is_one_head():
    script = ScriptDirectory.from_config(configuration("postgresql://"))
    assert script.get_heads() == [newest()]


def test_the_newest_schema_is_what_the_tables_say(hikaku_url):
    command.check(configuration(sqlalchemy_url(hikaku_url)))


def test_every_migration_goes_down_and_up_again(hikaku_url):
    url = sqlalchemy_url(hikaku_url)
    before = _tables(hikaku_url)
    command.downgrade(configuration(url), "base")
    assert _tables(hikaku_url) == set()
    assert not is_newest(url)
    upgrade(url, "0001")
    assert not is_newest(url)
    upgrade(url)
    assert is_newest(url)
    assert _tables(hikaku_url) == before


@pytest.mark.parametrize(
    "table", ["dataset_row", "cell_result", "cell_response", "attempt", "score", "file_chunk"]
)
def test_what_grows_is_partitioned_from_the_start(hikaku_url, table):
    with psycopg.connect(hikaku_url) as connection:
        kind = connection.execute(
            "select relkind from pg_class where relname = %s", [table]
        ).fetchone()
        open_partition = connection.execute("select to_regclass(%s)", [f"{table}_b0"]).fetchone()
    assert kind == ("p",)
    assert open_partition is not None
    assert open_partition[0] is not None
