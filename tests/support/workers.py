"""Real worker processes against real Postgres, Valkey and the chaos provider."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import select

from gateway.config import load
from hikaku.identities import identity
from hikaku.jobs import JobState, Outcome
from hikaku.queue import Queue, celery_app
from hikaku.specs import EndpointIdentity, JobSpec
from hikaku.storage import jobs
from hikaku.storage.connection import Sessions
from hikaku.storage.jobs import Progress
from hikaku.storage.tables import CellResult
from hikaku.submission import submit

ROOT = Path(__file__).parents[2]

PATIENCE = 90.0
"""Seconds that anything may take before a test gives up."""

CONCURRENCY = 16
"""Calls at once at an endpoint of `chaos`."""


@dataclass(kw_only=True)
class Cluster:
    """Workers and a scheduler as processes; each can be killed."""

    directory: Path
    database_url: str
    redis_url: str
    sessions: Sessions
    endpoints: list[dict[str, Any]]
    settings: dict[str, str] = field(default_factory=dict)
    """Environment of the processes on top of what all clusters have."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    killed: set[str] = field(default_factory=set)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "HIKAKU_DATABASE_URL": self.database_url,
            "HIKAKU_REDIS_URL": self.redis_url,
            "HIKAKU_GATEWAY_CONFIG": str(self.directory / "gateway.yaml"),
            "HIKAKU_SPOOL_DIR": str(self.directory / "spool"),
            "HIKAKU_LEASE_SECONDS": "3",
            "HIKAKU_HEARTBEAT_SECONDS": "0.5",
            "HIKAKU_SWEEP_SECONDS": "0.2",
            "PYTHONUNBUFFERED": "1",
            **self.settings,
        }

    def configure(self) -> None:
        text = yaml.safe_dump({"endpoints": self.endpoints}, allow_unicode=True)
        (self.directory / "gateway.yaml").write_text(text, encoding="utf-8")

    def start(self, name: str, program: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "workers.main", program],
                env=self.environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def kill(self, name: str, how: int = signal.SIGKILL) -> None:
        self.killed.add(name)
        self.processes[name].send_signal(how)

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
        for process in self.processes.values():
            process.wait(10)

    @property
    def known(self) -> dict[str, EndpointIdentity]:
        catalog = load(self.directory / "gateway.yaml", os.environ)
        return {name: identity(endpoint) for name, endpoint in catalog.endpoints.items()}

    def submit(self, spec: JobSpec) -> str:
        with self.sessions.begin() as session:
            submitted = submit(session, spec, self.known)
        Queue(celery_app(self.redis_url)).put_shards(submitted.hints)
        return submitted.job_id

    def progress(self, job_id: str) -> Progress:
        with self.sessions() as session:
            return jobs.progress(session, [job_id])[job_id]

    def state(self, job_id: str) -> JobState:
        with self.sessions() as session:
            return JobState(jobs.get(session, job_id).state)

    def wait_done(self, job_id: str, cells: int) -> None:
        self.wait(lambda: self.progress(job_id).done >= cells, f"{cells} cells")

    def wait_final(self, job_id: str) -> JobState:
        self.wait(lambda: self.state(job_id).is_final, "the job's end")
        return self.state(job_id)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if condition():
                return
            self._check_alive()
            time.sleep(0.05)
        raise AssertionError(f"waited {PATIENCE:g} s for {what}\n{self.logs()}")

    def _check_alive(self) -> None:
        for name, process in self.processes.items():
            if name not in self.killed and process.poll() is not None:
                raise AssertionError(f"{name} died by itself\n{self.logs()}")

    def logs(self) -> str:
        tails = []
        for log in sorted(self.directory.glob("*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:]
            tails.append("\n".join([f"== {log.name}", *lines]))
        return "\n".join(tails)


@dataclass(frozen=True)
class CallLog:
    """The provider's own record of the calls that arrived: it knows nothing of ours."""

    path: Path

    def events(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        # A line that is being written has no end yet.
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        return [json.loads(line) for line in whole.splitlines()]

    def calls(self) -> int:
        return sum(event["event"] == "call" for event in self.events())

    def askers(self) -> dict[str, list[int]]:
        """The processes that asked each prompt, call by call."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for event in self.events():
            if event["event"] == "call":
                found[event["prompt"]].append(event["pid"])
        return found

    def answered_more_than_once(self, since: float) -> dict[str, int]:
        answers = Counter(
            event["prompt"]
            for event in self.events()
            if event["event"] == "answer" and event["outcome"] == "200" and event["at"] > since
        )
        return {prompt: n for prompt, n in answers.items() if n > 1}


def chaos(name: str, log: Path | None = None, **settings: Any) -> dict[str, Any]:
    config = settings | ({"log": str(log)} if log else {})
    return {
        "name": name,
        "endpoint_type": "llm/v1/chat",
        "model": {"provider": "chaos", "name": f"{name}-model", "config": config},
        "limits": {"concurrency": CONCURRENCY},
    }


def numbered_rows(n: int) -> list[dict[str, str]]:
    return [{"object": f"りんご{i}", "expected": f"りんご{i}"} for i in range(n)]


@contextmanager
def cluster(
    directory: Path,
    database_url: str,
    redis_url: str,
    sessions: Sessions,
    endpoints: list[dict[str, Any]],
    *,
    workers: int = 2,
    settings: dict[str, str] | None = None,
) -> Iterator[Cluster]:
    started = Cluster(
        directory=directory,
        database_url=database_url,
        redis_url=redis_url,
        sessions=sessions,
        endpoints=endpoints,
        settings=settings or {},
    )
    started.configure()
    try:
        started.start("scheduler", "scheduler")
        for number in range(workers):
            started.start(f"worker-{number}", "batch")
        yield started
    finally:
        started.stop()


def assert_every_cell_once(cluster: Cluster, job_id: str, cells: int) -> None:
    """Exactly one recorded outcome per cell, and counters that equal the rows."""
    recorded = select(CellResult.endpoint, CellResult.row, CellResult.repeat).where(
        CellResult.job_id == job_id
    )
    with cluster.sessions() as session:
        keys = session.execute(recorded).all()
        progress = jobs.progress(session, [job_id])[job_id]
    assert len(keys) == len(set(keys)) == cells
    assert progress.done == cells
    assert progress.count(Outcome.OK) + progress.failed == cells
