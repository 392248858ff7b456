"""What one stack is made of: choices in, addresses and programs out."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from stack import parts
from stack.endpoints import write_endpoints
from stack.folder import Folder
from stack.models.registry import MODELS
from stack.ports import Ports
from stack.postgres import Postgres
from stack.programs import Program
from stack.valkey import Valkey

PORTS = {"api": 8420, "mlflow": 8421, "models": 8422}
"""Preferred ports, by what listens there."""
_DATABASE, _REDIS, _MLFLOW = "HIKAKU_DATABASE_URL", "HIKAKU_REDIS_URL", "MLFLOW_TRACKING_URI"
_GATEWAY = "HIKAKU_GATEWAY_CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the user of `hikaku up` decides, on the command line and in the environment."""

    workers: int
    port: int | None = None
    """Of the API; None means the one used last time, else the first free one."""
    without: frozenset[str] = frozenset()
    """Optional parts to leave out: `mlflow`, `models`."""
    outside: Mapping[str, str] = field(default_factory=dict)
    """Services that somebody else runs, by the environment variable that names them."""
    gateway_config: Path | None = None
    """The user's own; None means there is none."""

    @classmethod
    def of(
        cls,
        environ: Mapping[str, str],
        *,
        port: int | None = None,
        workers: int | None = None,
        without: frozenset[str] = frozenset(),
    ) -> Self:
        """Add what the environment and the working directory say to the command line."""
        named = environ.get(_GATEWAY)
        beside = Path("gateway.yaml").absolute()
        return cls(
            workers=cores() if workers is None else workers,
            port=port,
            without=without,
            outside={name: environ[name] for name in (_DATABASE, _REDIS, _MLFLOW)
                     if environ.get(name)},
            gateway_config=Path(named).absolute() if named else beside if beside.exists() else None,
        )  # fmt: skip

    def runs(self, part: str) -> bool:
        """Whether the stack runs this part itself."""
        match part:
            case "postgres":
                return _DATABASE not in self.outside
            case "valkey":
                return _REDIS not in self.outside
            case "mlflow":
                return part not in self.without and _MLFLOW not in self.outside
            case "models":
                nothing_embedded = {_DATABASE, _REDIS, _MLFLOW} <= set(self.outside)
                return part not in self.without and not nothing_embedded
            case _:
                return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A stack about to start."""

    programs: tuple[Program, ...]
    urls: Mapping[str, str]
    database_url: str
    redis_url: str
    gateway_config: Path


def cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_plan(folder: Folder, choices: Choices, ports: Ports) -> Plan:
    """Choose addresses, make the database cluster where there is none, and list the programs.

    Raises:
        StackError: The port asked for is taken, or the cluster cannot be made.
    """
    postgres, valkey = Postgres(folder.path / "postgres"), Valkey(folder.path / "valkey")
    taken = _choose_ports(folder, choices, ports)
    urls = {name: f"http://127.0.0.1:{port}" for name, port in taken.items()}
    if _MLFLOW in choices.outside:
        urls["mlflow"] = choices.outside[_MLFLOW]
    database_url = choices.outside.get(_DATABASE) or postgres.url()
    redis_url = choices.outside.get(_REDIS) or valkey.broker_url
    gateway_config = _gateway_config(folder, choices, urls)
    environ = parts.import_path() | {
        _DATABASE: database_url,
        _REDIS: redis_url,
        _GATEWAY: str(gateway_config),
        "HIKAKU_SPOOL_DIR": str(folder.path / "spool"),
        "HIKAKU_PORT": str(taken["api"]),
    }
    if "mlflow" in urls:
        environ[_MLFLOW] = urls["mlflow"]
    programs = [
        *_services(choices, postgres, valkey),
        *own_programs(choices.workers, environ, urls["api"]),
        *_companions(folder, choices, postgres, taken, environ),
    ]
    return Plan(
        programs=tuple(programs),
        urls=urls,
        database_url=database_url,
        redis_url=redis_url,
        gateway_config=gateway_config,
    )


def own_programs(workers: int, environ: Mapping[str, str], api_url: str) -> list[Program]:
    """The programs of the product itself, in the order in which they start."""
    return [
        parts.migrations(environ),
        parts.api(environ, api_url),
        *(parts.worker(environ, number) for number in range(1, workers + 1)),
        parts.scheduler(environ),
    ]


def _services(choices: Choices, postgres: Postgres, valkey: Valkey) -> Iterator[Program]:
    """What everything else stands on."""
    if choices.runs("postgres"):
        postgres.prepare()
        yield postgres.program()
    if choices.runs("valkey"):
        yield valkey.program()


def _companions(
    folder: Folder,
    choices: Choices,
    postgres: Postgres,
    taken: Mapping[str, int],
    environ: Mapping[str, str],
) -> Iterator[Program]:
    """What the product works without, for a while."""
    if choices.runs("models"):
        yield parts.models(taken["models"], environ)
    if choices.runs("mlflow"):
        backend = _mlflow_backend(folder, postgres if choices.runs("postgres") else None)
        yield parts.mlflow(taken["mlflow"], backend, folder.path / "mlflow")


def _gateway_config(folder: Folder, choices: Choices, urls: Mapping[str, str]) -> Path:
    """The user's own file, else one of ours, written now."""
    if choices.gateway_config is not None:
        return choices.gateway_config
    path = folder.path / "gateway.yaml"
    write_endpoints(path, list(MODELS.values()), urls.get("models"))
    return path


def _choose_ports(folder: Folder, choices: Choices, ports: Ports) -> dict[str, int]:
    kept = folder.ports()
    taken = {}
    for name, preferred in PORTS.items():
        if not choices.runs(name):
            continue
        strict = name == "api" and choices.port is not None
        wanted = choices.port if strict else kept.get(name, preferred)
        taken[name] = ports.reserve(wanted or preferred, strict=strict)
    folder.keep_ports(kept | taken)
    return taken


def _mlflow_backend(folder: Folder, postgres: Postgres | None) -> str:
    """Its own database beside ours; SQLite where the Postgres is somebody else's."""
    if postgres is None:
        return f"sqlite:///{folder.path / 'mlflow.db'}"
    return postgres.url("mlflow").replace("postgresql://", "postgresql+psycopg://", 1)
