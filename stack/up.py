"""Runs one stack in a folder, from the first look at the folder to the last process ended."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

import psutil

from hikaku.logs import JsonFormatter
from stack.errors import StackError
from stack.folder import Folder
from stack.parts import import_path
from stack.plan import Choices, Plan, make_plan
from stack.ports import Ports
from stack.screen import Screen
from stack.supervisor import Event, Happening, State, Supervisor

_DETACHED_SECONDS = 120
"""How long `--detach` waits for the stack to be ready."""


def version() -> str:
    """The installed release; `dev` when run from a source tree that is not installed."""
    try:
        return version_of("hikaku")
    except PackageNotFoundError:
        return "dev"


def run(data_dir: Path, choices: Choices, *, write: Callable[[str], None]) -> int:
    """Run a stack until it is told to stop; the exit status.

    Raises:
        StackError: It cannot start; the message says why.
    """
    began = time.monotonic()
    folder = Folder(data_dir)
    folder.hold()
    try:
        with _log_to(folder.logs / "stack.log"):
            folder.end_leftovers()
            plan = make_plan(folder, choices, Ports())
            screen = Screen(
                write, plan, folder=folder.path, version=version(), began=began,
                color=sys.stdout.isatty(),
            )  # fmt: skip
            return _supervise(folder, plan, screen)
    finally:
        folder.release()


def run_detached(data_dir: Path, arguments: list[str], *, write: Callable[[str], None]) -> int:
    """Start a stack that outlives this terminal, and wait until it is ready."""
    folder = Folder(data_dir)
    folder.logs.mkdir(parents=True, exist_ok=True)
    with (folder.logs / "up.log").open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - ourselves again
            [sys.executable, "-m", "stack.commands", "up", *arguments],
            env={**os.environ, **import_path()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + _DETACHED_SECONDS
    while time.monotonic() < deadline:
        description = folder.description() or {}
        if description.get("pid") == process.pid and description.get("ready"):
            write((folder.logs / "up.log").read_text(encoding="utf-8").rstrip())
            return 0
        if process.poll() is not None:
            said = (folder.logs / "up.log").read_text(encoding="utf-8").strip()
            raise StackError(said or f"the stack ended with status {process.returncode}")
        time.sleep(0.1)
    raise StackError(f"not ready after {_DETACHED_SECONDS} s; see {folder.logs}")


def stop_running(data_dir: Path) -> bool:
    """Stop the stack that holds the folder and wait until it has ended; False if none does."""
    folder = Folder(data_dir)
    if folder.description() is None or not folder.is_held():
        return False
    told = None
    while folder.is_held():
        pid = (folder.description() or {}).get("pid")
        # Until a stack that has just begun says who it is, there stands what a killed one wrote.
        if pid is not None and pid != told and folder.holder() in {pid, None}:
            told = pid
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.05)
    return True


def _supervise(folder: Folder, plan: Plan, screen: Screen) -> int:
    started_at = datetime.now(UTC).isoformat(timespec="seconds")

    def describe() -> None:
        standings = supervisor.standings()
        ready = standings["api"].state is State.READY
        folder.describe({
            "version": version(), "pid": os.getpid(), "started_at": started_at, "ready": ready,
            "data_dir": str(folder.path), "urls": dict(plan.urls),
            "database_url": plan.database_url, "redis_url": plan.redis_url,
            "gateway_config": str(plan.gateway_config),
            "processes": {
                name: {"pid": one.pid, "state": one.state, "restarts": one.restarts,
                       "created": _created(one.pid)}
                for name, one in standings.items()
            },
        })  # fmt: skip

    def on_event(event: Event) -> None:
        screen.show(event)
        if event.what is not Happening.STOPPED:
            describe()  # last: who reads there that we are ready finds the whole screen written

    supervisor = Supervisor(plan.programs, logs=folder.logs, on_event=on_event)
    screen.open()
    describe()
    return supervisor.run()


def _created(pid: int | None) -> float | None:
    """When the process started: with its number, its identity."""
    if pid is None:
        return None
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None


class _log_to:  # noqa: N801 - used as a function
    """The supervisor's own events, a JSON line each, appended to a file."""

    def __init__(self, path: Path) -> None:
        self._output = logging.FileHandler(path, encoding="utf-8")
        self._output.setFormatter(JsonFormatter())

    def __enter__(self) -> None:
        logger = logging.getLogger("stack")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(self._output)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("stack").removeHandler(self._output)
        self._output.close()
