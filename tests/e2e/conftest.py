"""The product as its users meet it: `hikaku up` in a folder, the command line and the client."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from hikaku_client import Client

from tests.support.services import short_directory

ROOT = Path(__file__).parents[2]
HIKAKU = Path(sys.executable).with_name("hikaku")


@dataclass(frozen=True)
class Product:
    """A running stack and its command line."""

    folder: Path

    def run(
        self, *arguments: str, timeout: float = 600, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [HIKAKU, *arguments],
            cwd=self.folder,
            env=_clean_environment() | environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        ended = self.run(*arguments, "--json")
        assert ended.returncode == 0, ended.stderr
        return [json.loads(line) for line in ended.stdout.splitlines()]

    @property
    def description(self) -> dict[str, Any]:
        text = (self.folder / ".hikaku/stack.json").read_text(encoding="utf-8")
        described: dict[str, Any] = json.loads(text)
        return described


def _clean_environment() -> dict[str, str]:
    ours = ("HIKAKU_", "MLFLOW_", "COLUMNS")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    models = os.environ.get("HIKAKU_MODELS_DIR")
    return kept | {"PYTHONUTF8": "1"} | ({"HIKAKU_MODELS_DIR": models} if models else {})


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    with short_directory() as folder:
        started = Product(folder)
        up = started.run("up", "--detach")
        assert up.returncode == 0, up.stdout + up.stderr
        pids = [one["pid"] for one in started.description["processes"].values() if one["pid"]]
        try:
            yield started
        finally:
            down = started.run("down")
            assert down.returncode == 0, down.stderr
        assert [pid for pid in pids if psutil.pid_exists(pid)] == []


@pytest.fixture
def client(product: Product) -> Iterator[Client]:
    with Client(product.description["urls"]["api"]) as connected:
        yield connected
