"""Kills a whole stack with SIGKILL, Postgres and Valkey included, and starts it again.

Measures on `hikaku up` itself how long the first call is in coming: after such a kill, and after
one of the only worker, which the stack starts again by itself.
"""

# ruff: noqa: T201  # a program that prints

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
import yaml

from hikaku.storage.connection import Sessions, open_engine, open_sessions
from tests.support.arena import CALLER, IN_FLIGHT, PATIENCE, ROOT, fault_job, model_server
from tests.support.database import sqlalchemy_url
from tests.support.history import Diary, Figures, Harm, check, figures
from tests.support.records import ProviderLog, read
from tests.support.services import short_directory

CELLS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StackKills:
    """What came of it."""

    stack: tuple[float, ...]
    """Seconds from `hikaku up` after a kill of everything until the first call."""
    worker: tuple[float, ...]
    """Seconds from the kill of the only worker until the first call of its successor."""
    figures: Figures
    violations: tuple[str, ...]

    def table(self) -> str:
        lines = [
            "| killed | times | first call p50 / max s | limit s | manual steps |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        for what, seconds, limit in (
            ("the only worker, under `hikaku up`", self.worker, 10),
            ("everything, and `hikaku up` again", self.stack, 30),
        ):
            if seconds:
                shown = f"{statistics.median(seconds):.1f} / {max(seconds):.1f}"
                lines.append(f"| {what} | {len(seconds)} | {shown} | {limit} | 0 |")
        f = self.figures
        lines.append(
            f"\nOne job went through all of it: {f.cells} cells, {f.lost} lost, {f.doubled} "
            f"doubled, {f.calls} calls, {f.repeated} repeated (bound {f.bound}), {f.shown} shown."
        )
        return "\n".join(lines)


class Stack:
    """One `hikaku up` after the other, in one folder."""

    def __init__(self, directory: Path, provider: str) -> None:
        self.directory = directory
        self.log = ProviderLog(directory / "provider.jsonl")
        self.diary = Diary(most=IN_FLIGHT)
        self._provider = provider
        self._number = 0
        self._up: subprocess.Popen[bytes] | None = None
        self._configure()

    @property
    def caller(self) -> str:
        return f"stack.{self._number}"

    def up(self) -> None:
        """Start it; returns at once."""
        self._number += 1
        environ = os.environ | {
            CALLER: self.caller,
            "HIKAKU_GATEWAY_CONFIG": str(self.directory / "gateway.yaml"),
            "HIKAKU_CELLS_IN_FLIGHT": str(IN_FLIGHT),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "stack.commands", "up", "--workers", "1",
                   "--without", "mlflow", "--without", "models",
                   "--data-dir", str(self.directory / "d")]  # fmt: skip
        with (self.directory / "up.log").open("ab") as output:
            self._up = subprocess.Popen(
                command, env=environ, cwd=ROOT, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL of every process there is of it, the supervisor first."""
        assert self._up is not None
        family = [psutil.Process(self._up.pid)]
        family += family[0].children(recursive=True)
        self.diary.note(Harm.KILLED, self.caller, time.time())
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._up.wait(30)
        psutil.wait_procs(family, 30)

    def kill_worker(self) -> None:
        """SIGKILL of the worker alone."""
        pid = self._description()["processes"]["worker-1"]["pid"]
        self.diary.note(Harm.KILLED, self.caller, time.time())
        os.kill(pid, 9)

    def url(self) -> str:
        wait(lambda: bool(self._description().get("ready")), "the stack")
        return str(self._description()["urls"]["api"])

    def sessions(self) -> Sessions:
        url = sqlalchemy_url(str(self._description()["database_url"]))
        return open_sessions(open_engine(url))

    def first_call(self, after: int) -> float:
        """Wait for a call beyond the first `after`; gives the moment at which it came."""
        wait(lambda: self.log.count() > after, "a call")
        return self.log.calls()[after].at

    def said(self) -> str:
        return (self.directory / "up.log").read_text(encoding="utf-8", errors="replace")[-3000:]

    def _description(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.directory / "d" / "stack.json").read_text()))
        except (OSError, ValueError):
            return {}

    def _configure(self) -> None:
        endpoint = {
            "name": "a",
            "endpoint_type": "llm/v1/chat",
            "model": {
                "provider": "openai-compatible",
                "name": "a-model",
                "config": {"api_base": f"http://{self._provider}/v1", "api_key": f"${CALLER}"},
            },
            "limits": {"concurrency": IN_FLIGHT},
        }
        text = yaml.safe_dump({"endpoints": [endpoint]})
        (self.directory / "gateway.yaml").write_text(text, encoding="utf-8")


def wait(condition: Any, what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"waited {PATIENCE:g} s for {what}")
        time.sleep(0.05)


@contextmanager
def running() -> Iterator[Stack]:
    with short_directory() as directory, model_server(directory / "provider.jsonl") as port:
        stack = Stack(directory, f"127.0.0.1:{port}")
        stack.up()
        try:
            yield stack
        finally:
            stack.kill()


def kill_whole_stacks(rounds: int, cells: int = CELLS) -> StackKills:
    """Kill a stack `rounds` times in the middle of one job, and its worker as often."""
    with running() as stack:
        url = stack.url()
        job = submit(url, cells)
        stack.first_call(after=24)
        stacks, workers = [], []
        for _ in range(rounds):
            workers.append(_after_worker_kill(stack))
            stacks.append(_after_stack_kill(stack))
        url = stack.url()
        wait(lambda: read_job(url, job)["finished_at"], "the job's end")
        sessions = stack.sessions()
        history = read(sessions, job, stack.log, stack.diary.faults)
        violations = check(history)
        sessions.kw["bind"].dispose()
    return StackKills(
        stack=tuple(stacks),
        worker=tuple(workers),
        figures=figures(history),
        violations=tuple(map(str, violations)),
    )


def _after_worker_kill(stack: Stack) -> float:
    killed = time.time()
    stack.kill_worker()
    time.sleep(0.5)  # what it had sent may still arrive
    return stack.first_call(after=stack.log.count()) - killed


def _after_stack_kill(stack: Stack) -> float:
    stack.kill()
    time.sleep(0.5)
    count = stack.log.count()
    began = time.time()
    stack.up()
    return stack.first_call(after=count) - began


def submit(url: str, cells: int) -> str:
    answer = httpx2.post(f"{url}/api/v1/jobs", json=fault_job(cells), timeout=60)
    return str(answer.raise_for_status().json()["id"])


def read_job(url: str, job: str) -> dict[str, Any]:
    try:
        answer = httpx2.get(f"{url}/api/v1/jobs/{job}", timeout=30)
    except httpx2.TransportError:
        return {"finished_at": None}
    return dict(answer.json())


def main(arguments: Sequence[str]) -> int:
    kills = kill_whole_stacks(int(arguments[0]) if arguments else 3)
    print(kills.table())
    print("\n".join(kills.violations))
    return int(bool(kills.violations))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
