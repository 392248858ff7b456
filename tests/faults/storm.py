"""Faults at random: what is done to an arena, when, and to whom, a seed decides."""

import random
import resource
import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import psycopg
import redis

from hikaku.failpoints import Point
from stack.postgres import Postgres
from tests.support.arena import Arena, Member
from tests.support.relay import Relay, relay

LEASE = 8.0
"""Seconds: the product's own, as are the heartbeat and the sweep of these runs."""
TIMES = {
    "HIKAKU_LEASE_SECONDS": "8",
    "HIKAKU_HEARTBEAT_SECONDS": "2",
    "HIKAKU_SWEEP_SECONDS": "1",
    "HIKAKU_SPOOL_SEGMENT_BYTES": "65536",  # so that a full disk is met soon
}
HOUR = 3_600
FULL = 2**20
"""Bytes that a file may have on a full disk: fewer than a new segment has."""
WORKERS = 3
DEADLY = (
    Point.IN_CLAIM, Point.AFTER_CLAIM, Point.BEFORE_CALL, Point.AFTER_CALL_BEFORE_SPOOL,
    Point.AFTER_SPOOL_BEFORE_COPY, Point.IN_COPY, Point.AFTER_COPY_BEFORE_COMMIT,
    Point.AFTER_COMMIT_BEFORE_FORGET, Point.BEFORE_COMPLETE, Point.IN_COMPLETE,
    Point.AFTER_COMPLETE, Point.ADOPT_AFTER_LOCK, Point.ADOPT_BEFORE_REMOVE,
)  # fmt: skip


@dataclass(kw_only=True)
class Storm:
    """Makes faults in one arena by one seed, until its job has ended."""

    place: Arena
    chance: random.Random
    made: Counter[str] = field(default_factory=Counter)
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _frozen: set[str] = field(default_factory=set)
    """Workers to which nothing else is to be done for the moment."""
    _wires: dict[str, Relay] = field(default_factory=dict)
    """To Postgres, of the workers that have one of their own."""
    _open: ExitStack = field(default_factory=ExitStack)
    _away_since: float | None = None
    """When Postgres was last taken away; its answers may be in spools for a while after."""

    def rage(self, job: str, until: float) -> None:
        """Make a fault every few seconds."""
        faults = (
            self.kill, self.kill, self.arm, self.freeze, self.ask_to_stop, self.flush,
            self.kill_redis, self.kill_postgres, self.cut_backends, self.kill_scheduler, self.sulk,
            self.fill_spool, self.silence, self.set_clock, self.fill_redis,
        )  # fmt: skip
        while time.monotonic() < until and not self._is_final(job):
            self.chance.choice(faults)()
            self._wait(self.chance.uniform(1.0, 4.0))
            self._man()

    def calm(self) -> None:
        """Mend all that is still broken: what follows is up to the product."""
        for _, act in sorted(self._later, key=lambda one: one[0]):
            act()
        self._later.clear()
        self.place.mood(seconds=0.4)
        self.place.disarm()
        self._man()

    def kill(self) -> None:
        self._count("worker SIGKILL")
        self.place.kill(self._victim())

    def arm(self) -> None:
        self._count("worker SIGKILL at a point")
        point = self.chance.choice(DEADLY)
        self.place.kill(self._victim())
        self.place.armed(point, self.chance.randint(1, 8))

    def freeze(self) -> None:
        self._count("worker SIGSTOP")
        victim = self._victim()
        self.place.freeze(victim, safe_until=self._safe_until())
        self._until(2.0 * LEASE, victim, lambda: self.place.thaw(victim))

    def ask_to_stop(self) -> None:
        self._count("worker SIGTERM")
        victim = self._victim()
        self.place.expected_dead.add(victim.name)
        victim.process.terminate()

    def flush(self) -> None:
        self._count("Redis FLUSHALL")
        if self.place.valkey._valkey.answers():
            redis.Redis.from_url(self.place.valkey.url).flushall()

    def kill_redis(self) -> None:
        self._count("Redis SIGKILL")
        self.place.valkey.kill()
        if self.chance.random() < 0.5:
            folder = self.place.directory / "valkey" / "appendonlydir"
            shutil.rmtree(folder, ignore_errors=True)
        self._in(self.chance.uniform(0.0, 4.0), self._start_redis)

    def kill_postgres(self) -> None:
        self._count("Postgres SIGKILL")
        self._away_since = time.time()
        self.place.postgres.kill()
        self._in(self.chance.uniform(0.0, 5.0), self._start_postgres)

    def cut_backends(self) -> None:
        self._count("Postgres backends cut")
        try:
            url = self.place.postgres.url_of("hikaku")
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where application_name like 'hikaku%' and pid <> pg_backend_pid()"
                )
        except psycopg.OperationalError:
            pass  # it is away already

    def kill_scheduler(self) -> None:
        self._count("scheduler SIGKILL")
        for member in self.place.living():
            if member.name.startswith("scheduler."):
                self.place.kill(member)

    def sulk(self) -> None:
        self._count("provider storm")
        self.place.mood(
            seconds=0.4, seed=self.chance.randint(0, 999), limited=0.2, broken=0.1, reset=0.1,
            hung=0.02, huge=0.005, retry_after="1",
        )  # fmt: skip
        self._in(self.chance.uniform(1.0, 3.0), lambda: self.place.mood(seconds=0.4))

    def fill_spool(self) -> None:
        self._count("full disk under a spool")
        victim = self._unarmed()
        self._allow(victim, FULL)
        self._until(6.0, victim, lambda: self._allow(victim, resource.RLIM_INFINITY))

    def silence(self) -> None:
        wired = [m for m in self._able() if m.name in self._wires]
        if not wired:
            return
        self._count("silent wire to Postgres")
        victim = self.chance.choice(wired)
        wire = self._wires[victim.name]
        self.place.cut_off(victim, wire.go_silent, LEASE, safe_until=self._safe_until())
        self._until(2.0 * LEASE, victim, wire.heal)

    def set_clock(self) -> None:
        if self.place.clocks is None:
            return
        self._count("clock an hour wrong")
        victim = self._unarmed()
        self.place.set_clock(victim, self.chance.choice((HOUR, -HOUR)))
        self._until(8.0, victim, lambda: self.place.set_clock(victim, 0))

    def fill_redis(self) -> None:
        self._count("Redis full")
        if self.place.valkey._valkey.answers():
            broker = redis.Redis.from_url(self.place.valkey.url)
            broker.config_set("maxmemory-policy", "noeviction")
            broker.config_set("maxmemory", 1)
            self._in(self.chance.uniform(1.0, 5.0), self._empty_redis)

    def close(self) -> None:
        """Take the wires away."""
        self._open.close()

    def _empty_redis(self) -> None:
        if self.place.valkey._valkey.answers():
            redis.Redis.from_url(self.place.valkey.url).config_set("maxmemory", 0)

    def _allow(self, worker: Member, size: int) -> None:
        if worker.process.poll() is None:
            limits = (size, resource.RLIM_INFINITY)
            resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, limits)

    def _safe_until(self) -> float | None:
        """What was answered before is safe, though Postgres was away since."""
        away = self._away_since
        recently = away is not None and time.time() - away < 15
        return away - 2 if away is not None and recently else None

    def _until(self, most: float, victim: Member, mend: Callable[[], None]) -> None:
        """Mend a worker after some seconds, and leave it alone until then."""
        self._frozen.add(victim.name)

        def act() -> None:
            mend()
            self._frozen.discard(victim.name)

        self._in(self.chance.uniform(2.0, most), act)

    def _able(self) -> list[Member]:
        return [m for m in self._workers() if m.name not in self._frozen]

    def _unarmed(self) -> Member:
        armed = {m.name for m in self.place.waiting_to_die}
        able = [m for m in self._able() if m.name not in armed]
        return self.chance.choice(able) if able else self._start_worker()

    def _victim(self) -> Member:
        able = self._able()
        return self.chance.choice(able) if able else self._start_worker()

    def _start_worker(self) -> Member:
        """Start one whose wire to Postgres can go silent."""
        path = Postgres(self.place.directory / "pg").sockets / ".s.PGSQL.5432"
        wire = self._open.enter_context(relay(path))
        url = f"postgresql://hikaku@127.0.0.1:{wire.port}/hikaku"
        worker = self.place.start("worker", HIKAKU_DATABASE_URL=url)
        self._wires[worker.name] = wire
        return worker

    def _workers(self) -> list[Member]:
        return [m for m in self.place.living() if m.name.startswith("worker.")]

    def _man(self) -> None:
        """Start what died, as a supervisor would."""
        armed = self.place.bury()
        for _ in range(WORKERS - len(self._workers()) - armed):
            self._start_worker()
        if not any(m.name.startswith("scheduler.") for m in self.place.living()):
            self.place.scheduler()

    def _start_redis(self) -> None:
        if not self.place.valkey._valkey.answers():
            self.place.valkey.start()

    def _start_postgres(self) -> None:
        if not self.place.postgres._postgres.answers():
            self.place.postgres.start()

    def _in(self, seconds: float, act: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, act))

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            due = [one for one in self._later if one[0] <= time.monotonic()]
            for one in due:
                self._later.remove(one)
                one[1]()
            time.sleep(0.05)

    def _is_final(self, job: str) -> bool:
        try:
            return self.place.state(job).is_final
        except Exception:  # noqa: BLE001  # Postgres is away: not yet
            return False

    def _count(self, what: str) -> None:
        self.made[what] += 1
