"""MLflow's own gateways, as they are: what ours is held against."""

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


@contextmanager
def original(name: str, config: Path) -> Iterator[str]:
    """Run `mlflow gateway start` of environment `name`; gives its URL."""
    python = python_of(name)
    port = free_port()
    log = config.with_suffix(f".{name}.log")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    variables = kept | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    command = [
        str(python), "-m", "mlflow", "gateway", "start", "--config-path", str(config),
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=variables, stdout=output, stderr=output, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process, log)
        yield url
    finally:
        # Its server outlives it: the group is ended, not the process.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


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
