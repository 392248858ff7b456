"""The gateway as its users run it: a process of its own on a free port."""

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parents[2]


FIRST_PORT, PORTS_EACH = 10_000, 2_000
"""Below what the kernel gives to those who ask for any port, and each process of pytest has a part:
until the program that is told a port listens there, which takes seconds, nobody comes by it."""


def _candidates() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    begin = random.randrange(PORTS_EACH)  # noqa: S311 - another run of pytest may be under way
    while True:
        yield FIRST_PORT + worker * PORTS_EACH + begin
        begin = (begin + 1) % PORTS_EACH


_CANDIDATES = _candidates()


def free_port() -> int:
    """A port on which nobody listens, and that is given out once."""
    for port in _CANDIDATES:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is always another")


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
