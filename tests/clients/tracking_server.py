"""`mlflow server` of either generation, whose Prompt Engineering page asks a gateway of ours."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2

from tests.clients.environments import python_of
from tests.support.gateway_server import free_port

_VARIABLE = {"mlflow28": "MLFLOW_GATEWAY_URI", "mlflow3": "MLFLOW_DEPLOYMENTS_TARGET"}


@contextmanager
def tracking(name: str, gateway: str, folder: Path) -> Iterator[str]:
    """Run the server of environment `name`; gives its URL."""
    python = python_of(name)
    port = free_port()
    log = folder / f"{name}.log"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    variables = kept | {
        _VARIABLE[name]: gateway,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [
        str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/{name}.db",
        "--artifacts-destination", str(folder / name),
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=output, stderr=output, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process, log)
        yield url
    finally:
        # It leads a group of its own: its workers outlive it otherwise.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(log.read_text(encoding="utf-8"))
        try:
            if httpx2.get(f"{url}/health", trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.2)
    raise TimeoutError(log.read_text(encoding="utf-8"))
