"""The gateway as its users run it: a process of its own on a free port."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port for a server that is about to start; nobody else is given it meanwhile.

    It stays bound as long as this process lives, and not listened to: who sets SO_REUSEADDR, as
    servers do, can listen there, and until then connections are refused.
    """
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", 0))
    port: int = probe.getsockname()[1]
    probe.detach()
    return port


@contextmanager
def serving(
    config: Path, environ: Mapping[str, str] | None = None, *, workers: int = 1
) -> Iterator[str]:
    """Run `python -m gateway.main`; gives its URL."""
    port = free_port()
    log = config.with_suffix(".log")
    command = [sys.executable, "-m", "gateway.main", "--config-path", str(config)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--workers", str(workers)],
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(log.read_text(encoding="utf-8"))
        try:
            if httpx2.get(f"{url}/health", trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.05)
    raise TimeoutError(log.read_text(encoding="utf-8"))
