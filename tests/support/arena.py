"""A place to break things: real services and worker processes that die on command, and a diary.

Every worker process has a name of its own (`worker-0.2`: the second to bear it), which the
provider sees as its bearer key. So what was in flight when one died, the provider's log says.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import yaml
from sqlalchemy.exc import DBAPIError

from gateway.config import load
from hikaku.failpoints import Point
from hikaku.identities import identity
from hikaku.jobs import JobState
from hikaku.queue import Queue, celery_app
from hikaku.specs import EndpointIdentity, JobSpec
from hikaku.storage import jobs
from hikaku.storage.connection import Sessions, open_engine, open_sessions
from hikaku.submission import submit
from migrations.__main__ import upgrade
from stack.postgres import EmbeddedPostgres
from stack.valkey import EmbeddedValkey
from tests.support.clocks import Clocks, clocks
from tests.support.database import sqlalchemy_url
from tests.support.history import (
    READING,
    Call,
    Diary,
    Fault,
    Figures,
    Harm,
    History,
    Violation,
    check,
    figures,
    late_calls,
)
from tests.support.nursery import Nursery, Process
from tests.support.records import ProviderLog, read
from tests.support.services import short_directory

ROOT = Path(__file__).parents[2]

PATIENCE = 120.0
"""Seconds that anything may take before a test gives up."""

IN_FLIGHT = 24
"""Calls at once of one worker, over all its shards."""

LIMITED = "limited"
"""An endpoint that may be asked `RPM` times a minute, by all processes together."""
RPM = 1_200

PAID = "paid"
"""An endpoint whose tokens cost a unit each: 3 for every answer of the provider."""

LEASE = 3.0

CALLER = "HK_CALLER"
"""Environment variable that holds a worker's name, and is its key at the provider."""

PRICES = [
    {"input_usd_per_million_tokens": 100, "output_usd_per_million_tokens": 200},
    {"input_usd_per_million_tokens": 0, "output_usd_per_million_tokens": 1_000_000},
]

_SPRUNG = re.compile(r"failpoint (\S+) reached at ([\d.]+)")


@dataclass(kw_only=True)
class Member:
    """A process of the product, from its start to its end."""

    name: str
    process: Process
    log: Path
    started_at: float

    def sprung(self) -> tuple[Point, float] | None:
        """The failpoint at which it died or froze, and when."""
        found = _SPRUNG.search(self.log.read_text(encoding="utf-8", errors="replace"))
        return None if found is None else (Point(found[1]), float(found[2]))


@dataclass(kw_only=True)
class Arena:
    """Services, members and what was done to them."""

    directory: Path
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    nursery: Nursery
    sessions: Sessions
    log: ProviderLog
    provider: str
    """The model server's address, `host:port`."""
    diary: Diary = field(default_factory=lambda: Diary(most=IN_FLIGHT))
    members: list[Member] = field(default_factory=list)
    expected_dead: set[str] = field(default_factory=set)
    waiting_to_die: list[Member] = field(default_factory=list)
    """Armed, and not yet at their point."""
    settings: dict[str, str] = field(default_factory=dict)
    """Environment of members started from now on."""
    queue: Queue | None = None
    clocks: Clocks | None = None
    """The wall clocks of the members; None where they cannot be set."""

    def configure(self, *names: str) -> None:
        """Write the gateway's file: each endpoint is a model of the one provider."""
        endpoints = [
            {
                "name": name,
                "endpoint_type": "llm/v1/chat",
                "model": {
                    "provider": "openai-compatible",
                    "name": f"{name}-model",
                    "config": {"api_base": f"http://{self.provider}/v1", "api_key": f"${CALLER}"},
                },
                "limits": {"concurrency": IN_FLIGHT} | ({"rpm": RPM} if name == LIMITED else {}),
                "retry": {"base": 0.05, "cap": 0.5, "max_attempts": 40},
                # Nothing hangs at the paid one, and each answer that is late costs a unit more.
                "timeouts": {"total": 30 if name == PAID else 4},
                "breaker": {"open": 0.3, "max_open": 1},
                "price": PRICES[name == PAID],
            }
            for name in names
        ]
        text = yaml.safe_dump({"endpoints": endpoints}, allow_unicode=True)
        (self.directory / "gateway.yaml").write_text(text, encoding="utf-8")

    def mood(self, **mood: Any) -> None:
        """Change how the provider behaves."""
        answer = httpx2.post(f"http://{self.provider}/mood", json=mood, timeout=10)
        assert answer.is_success

    def environment(self, name: str) -> dict[str, str]:
        return os.environ | {
            "HIKAKU_DATABASE_URL": self.postgres.url_of("hikaku"),
            "HIKAKU_REDIS_URL": self.valkey.broker_url,
            "HIKAKU_GATEWAY_CONFIG": str(self.directory / "gateway.yaml"),
            "HIKAKU_SPOOL_DIR": str(self.directory / "spool"),
            "HIKAKU_CELLS_IN_FLIGHT": str(IN_FLIGHT),
            "HIKAKU_LEASE_SECONDS": str(LEASE),
            "HIKAKU_HEARTBEAT_SECONDS": "0.5",
            "HIKAKU_SWEEP_SECONDS": "0.2",
            "PYTHONUNBUFFERED": "1",
            CALLER: name,
        }

    def start(
        self,
        kind: str,
        *program: str,
        failpoints: str = "",
        prefix: Sequence[str] = (),
        **settings: str,
    ) -> Member:
        """Start a process; its name is the kind and how many of them there have been."""
        number = sum(member.name.startswith(f"{kind}.") for member in self.members)
        name = f"{kind}.{number}"
        more = self.settings | settings | {"HIKAKU_FAILPOINTS": failpoints}
        log = self.directory / f"{name}.log"
        log.touch()
        environ = self.environment(name) | more
        process = self._spawn(program or ("workers.main", "batch"), prefix, environ, log)
        member = Member(name=name, process=process, log=log, started_at=time.time())
        self.members.append(member)
        if ":kill" in failpoints:
            self.expected_dead.add(name)
            self.waiting_to_die.append(member)
        return member

    def _spawn(
        self, program: Sequence[str], prefix: Sequence[str], environ: Mapping[str, str], log: Path
    ) -> Process:
        if not prefix:
            return self.nursery.start(program, environ, log)
        with log.open("ab") as output:
            return subprocess.Popen(
                [*prefix, sys.executable, "-m", *program],
                env=environ,
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def workers(self, n: int) -> list[Member]:
        """Have `n` healthy workers."""
        there = [m for m in self.living() if m.name.startswith("worker.")]
        return there[:n] + [self.start("worker") for _ in range(n - len(there))]

    def scheduler(self, failpoints: str = "") -> Member:
        """Start a scheduler."""
        return self.start("scheduler", "workers.main", "scheduler", failpoints=failpoints)

    def recover(self) -> None:
        """Be as at the beginning, whatever was done; healthy workers stay."""
        self.diary.faults.clear()
        self.waiting_to_die.clear()
        for member in self.members:
            if member.name in self.expected_dead and member.process.poll() is None:
                self._end(member)
        if not self.postgres._postgres.answers():
            self.postgres.kill()
            self.postgres.start()
        if not self.valkey._valkey.answers():
            self.valkey.kill()
            self.valkey.start()
        self.mood()
        if not any(member.name.startswith("scheduler.") for member in self.living()):
            self.scheduler()

    def no_workers(self) -> None:
        """End all workers, so that only those of the test work."""
        for member in self.living():
            if member.name.startswith("worker."):
                self._end(member)

    def _end(self, member: Member) -> None:
        self.expected_dead.add(member.name)
        with suppress(ProcessLookupError):  # one that has just been forked leads no group yet
            os.killpg(member.process.pid, signal.SIGKILL)
        member.process.kill()
        member.process.wait(30)

    def living(self) -> list[Member]:
        return [
            member
            for member in self.members
            if member.name not in self.expected_dead and member.process.poll() is None
        ]

    def set_clock(self, member: Member, ahead: int) -> None:
        """Let a member's wall clock be so many seconds ahead of the true time."""
        assert self.clocks is not None
        self.clocks.jump(member.process.pid, ahead)

    def kill(self, member: Member) -> Fault:
        """SIGKILL."""
        self.expected_dead.add(member.name)
        before = time.time()
        member.process.kill()
        # What was answered after the kill was not read, however late we are to note it.
        asks_until = time.time() + READING
        fault = self.diary.note(Harm.KILLED, member.name, before, asks_until=asks_until)
        member.process.wait(30)
        return fault

    def cut_off(
        self,
        member: Member,
        cut: Callable[[], None],
        lease: float = LEASE,
        *,
        safe_until: float | None = None,
    ) -> Fault:
        """Leave a worker alone with the provider by `cut`: it asks until its lease ends."""
        before = time.time()
        cut()
        until = time.time() + lease + 1
        return self.diary.note(
            Harm.SHUT_OUT, member.name, before, safe_until=safe_until, asks_until=until
        )

    def freeze(self, member: Member, *, safe_until: float | None = None) -> Fault:
        """SIGSTOP; `thaw` ends it."""
        before = time.time()
        member.process.send_signal(signal.SIGSTOP)
        until = time.time() + READING
        return self.diary.note(
            Harm.SHUT_OUT, member.name, before, safe_until=safe_until, asks_until=until
        )

    def thaw(self, member: Member) -> None:
        member.process.send_signal(signal.SIGCONT)

    def dismiss(self, member: Member, *, within: float = 60) -> None:
        """SIGTERM, and a polite end."""
        self.expected_dead.add(member.name)
        member.process.terminate()
        assert member.process.wait(within) == 0, self.logs()

    def armed(
        self, point: Point, passage: int = 1, *, kind: str = "worker", **variables: str
    ) -> Member:
        """Start a member that dies at a point."""
        program = () if kind == "worker" else ("workers.main", kind)
        return self.start(kind, *program, failpoints=f"{point}:kill@{passage}", **variables)

    def frozen(self, point: Point) -> Member:
        """Start a worker that freezes at a point, and wait until it has; `thaw` wakes it."""
        member = self.start("worker", failpoints=f"{point}:stop")
        self.wait(lambda: member.sprung() is not None, f"{member.name} to freeze at {point}")
        _, at = member.sprung() or (point, time.time())
        self.diary.note(Harm.SHUT_OUT, member.name, at)
        return member

    def bury(self) -> int:
        """Note the deaths of armed members; gives how many are still alive."""
        for member in list(self.waiting_to_die):
            if member.process.poll() is not None and (sprung := member.sprung()) is not None:
                self.waiting_to_die.remove(member)
                self.diary.note(Harm.KILLED, member.name, sprung[1])
        return len(self.waiting_to_die)

    def disarm(self) -> None:
        """End the armed members that have not reached their point."""
        self.bury()
        for member in self.waiting_to_die:
            self.kill(member)
        self.waiting_to_die.clear()

    def await_death(self, member: Member, point: Point) -> Fault:
        """Wait until an armed member has died where it was to."""
        self.wait(lambda: member.process.poll() is not None, f"{member.name} to die at {point}")
        sprung = member.sprung()
        assert member.process.poll() == -signal.SIGKILL, self.logs()
        assert sprung is not None, self.logs()
        assert sprung[0] is point
        self.waiting_to_die.remove(member)
        return self.diary.note(Harm.KILLED, member.name, sprung[1])

    @property
    def known(self) -> dict[str, EndpointIdentity]:
        catalog = load(self.directory / "gateway.yaml", os.environ | {CALLER: "nobody"})
        return {name: identity(endpoint) for name, endpoint in catalog.endpoints.items()}

    def submit(self, cells: int, **spec: Any) -> str:
        """Submit a job of so many cells; no two jobs share a prompt."""
        job = JobSpec.model_validate(fault_job(cells) | spec)
        with self.sessions.begin() as session:
            submitted = submit(session, job, self.known)
        if self.queue is None:
            self.queue = Queue(celery_app(self.valkey.broker_url))
        self.queue.put_shards(submitted.hints)
        return submitted.job_id

    def done(self, job_id: str) -> int:
        with self.sessions() as session:
            return jobs.progress(session, [job_id])[job_id].done

    def state(self, job_id: str) -> JobState:
        with self.sessions() as session:
            return JobState(jobs.get(session, job_id).state)

    def wait_done(self, job_id: str, cells: int) -> None:
        self.wait(lambda: self.done(job_id) >= cells, f"{cells} cells")

    def wait_calls(self, more: int) -> None:
        """Wait until the provider has been asked so many more times."""
        target = self.log.count() + more
        self.wait(lambda: self.log.count() >= target, f"{more} more calls")

    def wait_asking(self, member: Member) -> None:
        """Wait until a worker has asked the provider something."""
        name = f'"caller":"{member.name}"'.encode()
        self.wait(lambda: name in self.log.path.read_bytes(), f"a call of {member.name}")

    def wait_final(self, job_id: str) -> JobState:
        self.wait(lambda: self.state(job_id).is_final, "the job's end")
        return self.state(job_id)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something; Postgres may be away meanwhile."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with suppress(DBAPIError):
                if condition():
                    return
            self.check_alive()
            time.sleep(0.05)
        raise AssertionError(f"waited {PATIENCE:g} s for {what}\n{self.logs()}")

    def check_alive(self) -> None:
        """Nobody may die but of what was done to it."""
        for member in self.members:
            if member.name not in self.expected_dead and member.process.poll() is not None:
                raise AssertionError(f"{member.name} died by itself\n{self.logs()}")

    def verify(self, job_id: str) -> Figures:
        """Hold the three records against each other; a zombie's lines may need a moment."""
        history, violations = self.examine(job_id)
        found = "\n".join(map(str, violations))
        assert not violations, f"{found}\n{figures(history)}\n{self.logs()}"
        return figures(history)

    def examine(self, job_id: str) -> tuple[History, list[Violation]]:
        """Read the records until nothing is wrong with them, or for 20 s."""
        until = time.monotonic() + 20
        while True:
            history = read(self.sessions, job_id, self.log, self.diary.faults)
            violations = check(history)
            if not violations or time.monotonic() > until:
                return history, violations
            time.sleep(0.2)

    def finish(self, job_id: str) -> Figures:
        """Wait for the end of a job in which no cell may fail, and verify it."""
        state = self.wait_final(job_id)
        found = self.verify(job_id)
        assert state is JobState.COMPLETED, self.logs()
        return found

    def verify_cancelled(self, job_id: str, cancelled_at: float) -> None:
        """No call may have started long after a cancellation; a busy machine is given time."""
        history = read(self.sessions, job_id, self.log, self.diary.faults)
        assert not check(history)
        assert not late_calls(history.calls, cancelled_at, grace=5.0)
        assert len(history.calls) < len(history.planned), "the job was over before"

    def asked(self, job_id: str) -> Sequence[Call]:
        """What the provider was asked for a job."""
        return read(self.sessions, job_id, self.log).calls

    def said(self, words: str) -> bool:
        """Whether a living member wrote this to its log."""
        return any(
            words in member.log.read_text(encoding="utf-8", errors="replace")
            for member in self.living()
        )

    def logs(self) -> str:
        tails = []
        for member in self.members:
            lines = member.log.read_text(encoding="utf-8", errors="replace").splitlines()
            telling = [line[:400] for line in lines if '"celery.' not in line]
            tails.append("\n".join([f"== {member.name}", *telling[-12:]]))
        return "\n".join(tails)

    def stop(self) -> None:
        for member in self.members:
            self._end(member)


def fault_job(cells: int) -> dict[str, Any]:
    token = uuid4().hex[:8]
    rows = [{"object": f"{token}-りんご{n}", "expected": "りんご"} for n in range(cells)]
    return {
        "prompt": {"template": "{{object}}"},
        "rows": rows,
        "endpoints": ["a"],
        "scorers": [{"type": "contains"}],
    }


@contextmanager
def model_server(log: Path, host: str = "127.0.0.1") -> Iterator[int]:
    """Run the provider; gives its port."""
    with socket.create_server((host, 0), backlog=1024) as listening:
        file = listening.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.model_server", str(file), str(log)],
            cwd=ROOT,
            pass_fds=[file],
            start_new_session=True,
        )
        port = listening.getsockname()[1]
    try:
        yield port
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def arena(host: str = "127.0.0.1", **settings: str) -> Iterator[Arena]:
    """Services and a provider; members are started by whoever needs them."""
    with ExitStack() as stack:
        directory = stack.enter_context(short_directory())
        set_clocks = clocks(directory)
        nursery = Nursery(set_clocks.environ if set_clocks else None)
        stack.callback(nursery.close)
        postgres, valkey = EmbeddedPostgres(directory / "pg"), EmbeddedValkey(directory / "valkey")
        postgres.start()
        stack.callback(postgres.stop)
        valkey.start()
        stack.callback(valkey.stop)
        url = sqlalchemy_url(postgres.url_of("hikaku"))
        upgrade(url)
        engine = open_engine(url)
        stack.callback(engine.dispose)
        log = directory / "provider.jsonl"
        port = stack.enter_context(model_server(log, host))
        made = Arena(
            directory=directory,
            postgres=postgres,
            valkey=valkey,
            nursery=nursery,
            sessions=open_sessions(engine),
            log=ProviderLog(log),
            provider=f"{host}:{port}",
            settings=dict(settings),
            clocks=set_clocks,
        )
        made.configure("a", "b", LIMITED, PAID)
        stack.callback(made.stop)
        yield made
