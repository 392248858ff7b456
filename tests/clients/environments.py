"""Other people's clients, each in an environment of its own, made from its lock on first use."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).with_name("scripts")
HOME = ROOT / ".tools" / "clients"


def python_of(name: str) -> Path:
    """The interpreter that has what `requirements/clients-NAME.txt` locks."""
    lock = ROOT / "requirements" / f"clients-{name}.txt"
    home = HOME / name
    mark = home / ".locked"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    python = home / "bin" / "python"
    with _alone(HOME / f"{name}.lock"):
        if not mark.exists() or mark.read_text(encoding="ascii") != digest:
            _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(home))
            _uv("pip", "sync", "--quiet", "--python", str(python), "--require-hashes", str(lock))
            mark.write_text(digest, encoding="ascii")
    return python


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Have other test processes wait, which would make the same environment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(name: str, script: str, *arguments: str, **environ: str) -> Any:
    """What a script prints as its last line, in JSON; its other output is in the failure."""
    # Without PYTHONPATH and the like: nothing of ours is in their environment.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(python_of(name)), str(SCRIPTS / script), *arguments],
        env=kept
        | {"PYTHONIOENCODING": "utf-8", "PYTHONWARNINGS": "ignore", "NO_PROXY": "127.0.0.1"}
        | environ,
        cwd=SCRIPTS,
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{script} in {name}:\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def _uv(*arguments: str) -> None:
    bundled = ROOT / ".tools" / "bin" / "uv"
    uv = str(bundled) if bundled.exists() else shutil.which("uv")
    command = [uv] if uv else [sys.executable, "-m", "uv"]
    subprocess.run([*command, *arguments], check=True, timeout=280)
