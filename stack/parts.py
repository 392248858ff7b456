"""The programs of a stack that are Hikaku's own, and MLflow: command lines and readiness checks."""

import http.client
import os
import shutil
import site
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import stack
from stack.programs import Program

_CHECK_SECONDS = 0.5
_DRAIN_SECONDS = 30.0
"""A worker finishes the calls that it has in flight."""


def migrations(environ: Mapping[str, str]) -> Program:
    """Bring the schema up to date, once."""
    return Program(
        name="migrations",
        argv=(sys.executable, "-m", "migrations", "upgrade"),
        environ=environ,
        after=("postgres", "valkey"),
        runs_once=True,
    )


def api(environ: Mapping[str, str], url: str) -> Program:
    """The HTTP API."""
    return Program(
        name="api",
        argv=(sys.executable, "-m", "api.main"),
        environ=environ,
        # Loading it takes longer than migrating, and it asks nothing of the schema meanwhile.
        after=("postgres", "valkey"),
        ready_with=("migrations",),
        ready=answering(f"{url}/ready"),
    )


def worker(environ: Mapping[str, str], number: int) -> Program:
    """One worker process of several.

    The first loads beside the API, so that jobs go on sooner; more would hold the API up.
    """
    return Program(
        name=f"worker-{number}",
        argv=(sys.executable, "-m", "workers.main", "batch"),
        environ=environ,
        after=("migrations",) if number == 1 else ("api",),
        stop_seconds=_DRAIN_SECONDS,
    )


def scheduler(environ: Mapping[str, str]) -> Program:
    """Fires schedules and looks after what was lost."""
    return Program(
        name="scheduler",
        argv=(sys.executable, "-m", "workers.main", "scheduler"),
        environ=environ,
        after=("api",),
        stop_seconds=_DRAIN_SECONDS,
    )


def models(port: int, environ: Mapping[str, str]) -> Program:
    """The server of local models."""
    return Program(
        name="models",
        argv=(sys.executable, "-m", "stack.models.server", "--port", str(port)),
        environ=environ,
        after=("api",),
        ready=answering(f"http://127.0.0.1:{port}/health"),
        stop_seconds=5,
    )


def mlflow(port: int, backend: str, artifacts: Path) -> Program:
    """MLflow's tracking server; it starts after the API and gives way to everything else.

    Its start takes as long as that of all the rest together.
    """
    artifacts.mkdir(parents=True, exist_ok=True)
    return Program(
        name="mlflow",
        argv=(
            *_giving_way(), sys.executable, "-m", "mlflow", "server",
            "--backend-store-uri", backend,
            "--serve-artifacts", "--artifacts-destination", str(artifacts),
            "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        ),
        environ={
            # Its job runner is eight more processes that nothing here uses.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        },
        after=("api",),
        ready=answering(f"http://127.0.0.1:{port}/health"),
    )  # fmt: skip


def import_path() -> dict[str, str]:
    """What children need in order to find our packages where they are not installed."""
    home = str(Path(stack.__file__).parent.parent)
    if home in site.getsitepackages():
        return {}
    given = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{home}{os.pathsep}{given}" if given else home}


def answering(url: str) -> Callable[[], bool]:
    """A check that passes when the URL is answered with 200, or asks for a key."""
    address = urlsplit(url)

    def check() -> bool:
        connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=_CHECK_SECONDS
        )
        try:
            connection.request("GET", address.path)
            return connection.getresponse().status in {200, 401}
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return check


def _giving_way() -> tuple[str, ...]:
    nice = shutil.which("nice")
    return (nice, "-n", "5") if nice else ()
