"""`python -m migrations upgrade|downgrade|check`: bring a database to the newest schema."""

import sys
from importlib.resources import files
from typing import TYPE_CHECKING

import psycopg

from hikaku.settings import Settings

if TYPE_CHECKING:
    from alembic.config import Config

_LOCK = 0x48494B41
"""Advisory lock: several machines may start at once, one migrates."""


def newest() -> str:
    """Tell the newest revision there is; the files are named by their revisions."""
    names = [file.name for file in files("migrations").joinpath("versions").iterdir()]
    return max(name.split("_")[0] for name in names if name[0].isdigit())


def is_newest(url: str) -> bool:
    """Whether the database stands at the newest revision: asked without loading Alembic."""
    plain = url.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        with psycopg.connect(plain, connect_timeout=5) as connection:
            found = connection.execute("select version_num from alembic_version").fetchall()
    except psycopg.Error:
        return False
    return found == [(newest(),)]


def configuration(url: str) -> "Config":
    """Build Alembic's configuration for the database at `url` (a SQLAlchemy URL)."""
    from alembic.config import Config  # noqa: PLC0415 - a database at the newest needs none of it

    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to `revision`; several at once wait for each other."""
    from alembic import command  # noqa: PLC0415 - a database at the newest needs none of it
    from sqlalchemy import create_engine, text  # noqa: PLC0415

    config = configuration(url)
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.execute(text("select pg_advisory_lock(:key)"), {"key": _LOCK})
        connection.commit()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.execute(text("select pg_advisory_unlock(:key)"), {"key": _LOCK})
        connection.commit()
    engine.dispose()


def main(arguments: list[str]) -> int:
    """Run one Alembic command on the database of the settings."""
    url = Settings().sqlalchemy_url
    if arguments == ["upgrade"] and is_newest(url):
        return 0
    from alembic import command  # noqa: PLC0415 - a database at the newest needs none of it

    match arguments:
        case ["upgrade"]:
            upgrade(url)
        case ["upgrade", revision]:
            upgrade(url, revision)
        case ["downgrade", revision]:
            command.downgrade(configuration(url), revision)
        case ["check"]:
            command.check(configuration(url))
        case ["new", message]:
            command.revision(configuration(url), message, autogenerate=True)
        case _:
            sys.stderr.write("usage: python -m migrations upgrade [REV] | downgrade REV | check\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
