"""Compose itself reads compose.yaml, where a client of it is installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _client() -> list[str] | None:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        known = subprocess.run([*command, "version"], capture_output=True, timeout=60, check=False)
        if known.returncode == 0:
            return command
    return None


CLIENT = _client()


@pytest.mark.skipif(CLIENT is None, reason="no client of Docker Compose is installed")
@pytest.mark.parametrize("profile", [[], ["--profile", "tgi"]], ids=["default", "tgi"])
def test_compose_accepts_the_file(profile: list[str], tmp_path: Path) -> None:
    assert CLIENT is not None
    command = [*CLIENT, "--project-directory", str(tmp_path), "--file", "compose.yaml", *profile]
    checked = subprocess.run(
        [*command, "config"],
        cwd=ROOT, env=os.environ, capture_output=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    assert "stack.container" in checked.stdout
