"""Hikaku in containers: makes the passwords at first start, and starts programs that know them.

`python -m stack.container init` writes the secrets, `... run PROGRAM ARG...` starts a program with
its addresses made of them, `... check` says whether the database and the queue answer.
"""

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg

from stack.databases import create_missing
from stack.endpoints import write_tgi_endpoints

_TIMEOUT_SECONDS = 5
_PASSWORDS = ("postgres", "valkey", "api_key")
_REDIS_PORT = 6379


def main(arguments: list[str]) -> int:
    """Do what the arguments say; the exit status."""
    state = Path(os.environ.get("HIKAKU_STATE", "/state"))
    match arguments:
        case ["init"]:
            initialise(state, os.environ)
        case ["check"]:
            return 0 if _answers(state) else 1
        case ["migrate"]:
            return _migrate(state)
        case ["mlflow"]:
            _become(state, *_mlflow_command(state))
        case ["run", *command] if command:
            _become(state, *command)
        case _:
            sys.stderr.write(f"{__doc__}\n")
            return 2
    return 0


def initialise(state: Path, environ: Mapping[str, str]) -> None:
    """Write what is missing: passwords never change once they are there.

    The folder belongs to this stack's containers alone; the files are readable to all of them,
    which run as different users.
    """
    for name in _PASSWORDS:
        _write_once(state / name, secrets.token_urlsafe(32))
    password = (state / "valkey").read_text(encoding="utf-8")
    _write_once(
        state / "valkey.conf",
        f'requirepass {password}\nappendonly yes\nappendfsync everysec\nsave ""\n'
        "maxmemory-policy noeviction\ndir /data\n",
    )
    served = {"tgi": "http://tgi"} if environ.get("TGI_MODEL") else {}
    write_tgi_endpoints(state / "gateway.yaml", served)
    sys.stdout.write("The API's key: docker compose exec api cat /state/api_key\n")


def addresses(state: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Environment of a program; what the user has set wins."""
    own = Path("/config/gateway.yaml")
    made = {
        "HIKAKU_DATABASE_URL": database_url(state, "hikaku"),
        "HIKAKU_REDIS_URL": f"redis://:{_secret(state, 'valkey')}@valkey:{_REDIS_PORT}/0",
        "HIKAKU_API_KEY": _secret(state, "api_key"),
        "HIKAKU_GATEWAY_CONFIG": str(own if own.exists() else state / "gateway.yaml"),
    }
    return {**made, **{name: value for name, value in environ.items() if value}}


def database_url(state: Path, database: str) -> str:
    """URL of a database in the Postgres container."""
    return f"postgresql://hikaku:{quote(_secret(state, 'postgres'), safe='')}@postgres/{database}"


def _migrate(state: Path) -> int:
    with psycopg.connect(
        database_url(state, "postgres"), autocommit=True, connect_timeout=_TIMEOUT_SECONDS
    ) as connection:
        create_missing(connection)
    environ = addresses(state, os.environ)
    command = [sys.executable, "-m", "migrations", "upgrade"]
    return subprocess.run(command, check=False, env=environ).returncode  # noqa: S603 - our own


def _mlflow_command(state: Path) -> list[str]:
    backend = database_url(state, "mlflow").replace("postgresql://", "postgresql+psycopg://", 1)
    return [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", backend,
        "--serve-artifacts", "--artifacts-destination", "/artifacts",
        "--host", "0.0.0.0", "--port", "5000", "--workers", "1",  # noqa: S104 - in a container
        # MLflow refuses requests under a name that it has not been told.
        "--allowed-hosts", "mlflow:5000,localhost:*,127.0.0.1:*",
    ]  # fmt: skip


def _answers(state: Path) -> bool:
    try:
        psycopg.connect(
            addresses(state, os.environ)["HIKAKU_DATABASE_URL"], connect_timeout=_TIMEOUT_SECONDS
        ).close()
        socket.create_connection(("valkey", _REDIS_PORT), _TIMEOUT_SECONDS).close()
    except (psycopg.Error, OSError):
        return False
    return True


def _become(state: Path, *command: str) -> None:
    os.execvpe(command[0], command, addresses(state, os.environ))  # noqa: S606 - no shell wanted


def _secret(state: Path, name: str) -> str:
    return (state / name).read_text(encoding="utf-8")


def _write_once(path: Path, text: str) -> None:
    if path.exists():
        return
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.chmod(0o444)
    unfinished.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
