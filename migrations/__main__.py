"""`python -m migrations upgrade|downgrade|check`: bring a database to the newest schema."""

import sys
from importlib.resources import files

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from hikaku.settings import Settings

_LOCK = 0x48494B41
"""Advisory lock: several machines may start at once, one migrates."""


def configuration(url: str) -> Config:
    """Build Alembic's configuration for the database at `url` (a SQLAlchemy URL)."""
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to `revision`; several at once wait for each other."""
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
