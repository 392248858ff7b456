"""Starts the product's programs by fork from a process that has imported them once.

A start costs a tenth of a second of processor time instead of three, and is otherwise the same:
a session, an environment and a log of its own, and `main()` of the program.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).parents[2]
PROGRAMS = ("workers.main", "api.main")


class Process(Protocol):
    """What is asked of a process, by the names of `subprocess.Popen`."""

    pid: int

    def poll(self) -> int | None: ...

    def wait(self, timeout: float) -> int: ...

    def send_signal(self, signal: int, /) -> None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class Nursery:
    """The process that forks; close it when all that it started have ended."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nursery"],
            cwd=ROOT,
            env=os.environ | dict(environ or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self, program: Sequence[str], environ: Mapping[str, str], log: Path) -> "Seedling":
        """Run a program: its module and its arguments."""
        return Seedling(self, self.ask(start=[list(program), dict(environ), str(log)]))

    def ask(self, **order: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=30)


class Seedling:
    """A forked program."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self._status: int | None = None
        self.pid = pid

    def poll(self) -> int | None:
        if self._status is None:
            self._status = self._nursery.ask(poll=self.pid)
        return self._status

    def wait(self, timeout: float) -> int:
        until = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(["forked"], timeout)
            time.sleep(0.02)
        return status

    def send_signal(self, signal: int, /) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def main() -> None:
    """Obey orders, one a line, until there are no more."""
    for program in PROGRAMS:
        import_module(program)
    for line in sys.stdin:
        match json.loads(line):
            case {"start": [program, environ, log]}:
                answer: int | None = os.fork() or _run(program, environ, log)
            case {"poll": pid}:
                gone, status = os.waitpid(pid, os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if gone else None
            case order:
                raise ValueError(f"no such order: {order}")
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _run(program: Sequence[str], environ: Mapping[str, str], log: str) -> int:
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(environ)
    module, *arguments = program
    sys.argv = [module, *arguments]
    main_of = import_module(module).main
    sys.exit(main_of(arguments) if arguments else main_of())


if __name__ == "__main__":
    main()
