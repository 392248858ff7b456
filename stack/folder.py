"""The folder of one stack: who holds it, which ports it keeps, and what others may read of it."""

import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from hikaku.locks import lock
from stack.errors import AlreadyRunningError

LOG_FOLDER = "logs"
_STALE_SECONDS = 15
_LOOK_SECONDS = 1.0
"""How long a lock is tried for: who only looks whether it is held has it for an instant."""


class Folder:
    """A stack's data directory; one stack at a time holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    @property
    def logs(self) -> Path:
        """Where every program's output goes."""
        return self.path / LOG_FOLDER

    @property
    def description_path(self) -> Path:
        """The file in which a running stack says what it is."""
        return self.path / "stack.json"

    def hold(self) -> None:
        """Take the folder for as long as this process lives; make it when it is not there.

        Raises:
            AlreadyRunningError: Another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        if not lock(held, _LOOK_SECONDS):
            os.close(held)
            raise AlreadyRunningError(self._who_runs())
        os.ftruncate(held, 0)
        os.write(held, b"%d" % os.getpid())
        self._lock = held
        self.logs.mkdir(exist_ok=True)
        (self.path / ".gitignore").write_text("*\n", encoding="utf-8")

    def release(self) -> None:
        """Let another process take the folder, and say that nothing runs."""
        self.description_path.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_held(self) -> bool:
        """Whether some process, this one included, holds the folder."""
        try:
            held = os.open(self.path / "lock", os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared by all who only look
        except BlockingIOError:
            return True
        finally:
            os.close(held)
        return False

    def describe(self, description: Mapping[str, object]) -> None:
        """Write `stack.json`, whole or not at all."""
        self._write(self.description_path, description)

    def description(self) -> dict[str, Any] | None:
        """What `stack.json` says; None when there is none."""
        return _read(self.description_path)

    def holder(self) -> int | None:
        """The process that held the folder last, by what it wrote into the lock."""
        try:
            return int((self.path / "lock").read_bytes())
        except (OSError, ValueError):
            return None

    def ports(self) -> dict[str, int]:
        """The ports used last time, by name."""
        kept = _read(self.path / "ports.json") or {}
        return {name: port for name, port in kept.items() if isinstance(port, int)}

    def keep_ports(self, ports: Mapping[str, int]) -> None:
        """Remember ports for the next start."""
        self._write(self.path / "ports.json", ports)

    def end_leftovers(self) -> int:
        """End what a stack killed without a chance to do so has left behind; how many.

        Only processes that started before `stack.json` was last written and have the recorded
        start time are ended: a number used again by somebody else's process is left alone.
        """
        left = []
        for entry in ((self.description() or {}).get("processes") or {}).values():
            with suppress(psutil.Error, TypeError, KeyError):
                process = psutil.Process(entry["pid"])
                if abs(process.create_time() - entry["created"]) < 1:
                    left += [process, *process.children(recursive=True)]
        for process in left:
            with suppress(psutil.Error):
                process.terminate()
        _, stubborn = psutil.wait_procs(left, timeout=_STALE_SECONDS)
        for process in stubborn:
            with suppress(psutil.Error):
                process.kill()
        return len(left)

    def _who_runs(self) -> str:
        description = self.description() or {}
        where = (description.get("urls") or {}).get("api") or "it is still starting"
        return (
            f"a stack is already running in {self.path} (process {description.get('pid', '?')}): "
            f"{where}; stop it with Ctrl-C there, or `hikaku status` shows more"
        )

    def _write(self, path: Path, content: Mapping[str, object]) -> None:
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        text = json.dumps(content, ensure_ascii=False, indent=2)
        with os.fdopen(
            os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text + "\n")
        unfinished.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
