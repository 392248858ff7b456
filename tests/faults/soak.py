"""The long run: 20 seeds of random faults, then kills of a whole stack; `make faults`.

    python -m tests.faults.soak [--seed N] [--seeds 20] [--cells 6000] [--rounds 5]

A seed decides every fault, its moment and its victim; the same seed makes the same plan, though
no two runs of the machine are alike. Each line of the table is one job whose history was checked.
"""

# ruff: noqa: T201  # a program that prints

import argparse
import random
import shutil
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import redis

from hikaku.failpoints import Point
from tests.faults.whole_stack import StackKills, kill_whole_stacks
from tests.support.arena import Arena, Member, arena
from tests.support.history import (
    Figures,
    History,
    Violation,
    figures,
    next_call_after,
    taken_up_after,
)

LEASE = 8.0
"""Seconds: the product's own, as are the heartbeat and the sweep of these runs."""
TIMES = {
    "HIKAKU_LEASE_SECONDS": "8",
    "HIKAKU_HEARTBEAT_SECONDS": "2",
    "HIKAKU_SWEEP_SECONDS": "1",
}
WORKERS = 3
DEADLY = (
    Point.IN_CLAIM, Point.AFTER_CLAIM, Point.BEFORE_CALL, Point.AFTER_CALL_BEFORE_SPOOL,
    Point.AFTER_SPOOL_BEFORE_COPY, Point.IN_COPY, Point.AFTER_COPY_BEFORE_COMMIT,
    Point.AFTER_COMMIT_BEFORE_FORGET, Point.BEFORE_COMPLETE, Point.IN_COMPLETE,
    Point.AFTER_COMPLETE, Point.ADOPT_AFTER_LOCK, Point.ADOPT_BEFORE_REMOVE,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one seed came to."""

    name: str
    """Its seed, or what was done."""
    faults: dict[str, int]
    figures: Figures
    violations: tuple[str, ...]
    next_call: tuple[float, ...]
    """Seconds from each kill or freeze of a worker until another asked anything."""
    taken_up: tuple[float, ...]
    """Seconds until what it interrupted was asked again; a queue may be before it."""
    seconds: float


@dataclass(kw_only=True)
class Storm:
    """Makes faults in one arena by one seed, until its job has ended."""

    place: Arena
    chance: random.Random
    made: Counter[str] = field(default_factory=Counter)
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _frozen: set[str] = field(default_factory=set)
    _away_since: float | None = None
    """When Postgres was last taken away; its answers may be in spools for a while after."""

    def rage(self, job: str, until: float) -> None:
        """Make a fault every few seconds."""
        faults = (
            self.kill, self.kill, self.arm, self.freeze, self.ask_to_stop, self.flush,
            self.kill_redis, self.kill_postgres, self.cut_backends, self.kill_scheduler, self.sulk,
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
        away = self._away_since
        recently = away is not None and time.time() - away < 15
        self.place.freeze(victim, safe_until=away - 2 if away is not None and recently else None)
        self._frozen.add(victim.name)

        def thaw() -> None:
            self.place.thaw(victim)
            self._frozen.discard(victim.name)

        self._in(self.chance.uniform(2.0, 2.0 * LEASE), thaw)

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
                    " where application_name = 'hikaku' and pid <> pg_backend_pid()"
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
            hung=0.02, retry_after="1",
        )  # fmt: skip
        self._in(self.chance.uniform(1.0, 3.0), lambda: self.place.mood(seconds=0.4))

    def _victim(self) -> Member:
        able = [m for m in self._workers() if m.name not in self._frozen]
        return self.chance.choice(able or self._workers() or [self.place.start("worker")])

    def _workers(self) -> list[Member]:
        return [m for m in self.place.living() if m.name.startswith("worker.")]

    def _man(self) -> None:
        """Start what died, as a supervisor would."""
        armed = self.place.bury()
        for _ in range(WORKERS - len(self._workers()) - armed):
            self.place.start("worker")
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


def run(seed: int, cells: int, longest: float) -> Row:
    """Run one seed."""
    began = time.monotonic()
    with arena(**TIMES) as place:
        place.mood(seconds=0.4)
        place.scheduler()
        place.workers(WORKERS)
        job = place.submit(cells)
        place.wait_done(job, cells // 20)
        storm = Storm(place=place, chance=random.Random(seed))  # noqa: S311
        storm.rage(job, time.monotonic() + longest)
        storm.calm()
        place.wait_final(job)
        return examined(place, job, str(seed), storm.made, began)


def long_outage(cells: int, seconds: float) -> Row:
    """Take Postgres away for long, and kill a worker that cannot store what it was answered."""
    began = time.monotonic()
    with arena(**TIMES) as place:
        place.mood(seconds=0.4)
        place.scheduler()
        victim, *_ = place.workers(WORKERS)
        job = place.submit(cells)
        place.wait_done(job, cells // 4)
        place.postgres.kill()
        time.sleep(seconds / 2)
        place.kill(victim)
        time.sleep(seconds / 2)
        place.postgres.start()
        place.workers(WORKERS)
        place.wait_final(job)
        made = {"Postgres away": 1, "worker SIGKILL": 1}
        return examined(place, job, f"Postgres away {seconds:g} s", made, began)


def examined(place: Arena, job: str, name: str, made: Mapping[str, int], began: float) -> Row:
    """Hold the records of a finished job against each other."""
    history, violations = place.examine(job)
    if violations:
        keep(name, place, history, violations)
    return Row(
        name=name,
        faults=dict(made),
        figures=figures(history),
        violations=tuple(map(str, violations)),
        next_call=_known(next_call_after(history, fault) for fault in history.faults),
        taken_up=_known(taken_up_after(history, fault) for fault in history.faults),
        seconds=time.monotonic() - began,
    )


def _known(seconds: Iterable[float | None]) -> tuple[float, ...]:
    return tuple(one for one in seconds if one is not None)


def keep(name: str, place: Arena, history: History, violations: Sequence[Violation]) -> None:
    """Leave what a person needs who looks for the cause."""
    folder = Path("build") / f"faults-{name.replace(' ', '-')}"
    folder.mkdir(parents=True, exist_ok=True)
    for log in [place.log.path, *(member.log for member in place.members)]:
        shutil.copy(log, folder)
    lines = [str(violation) for violation in violations]
    lines += [f"fault {fault}" for fault in history.faults]
    for cell in dict.fromkeys(cell for violation in violations for cell in violation.cells):
        lines += [str(call) for call in history.calls if call.cell == cell]
        lines += [str(line) for line in history.ledger if line.cell == cell]
    (folder / "violations").write_text("\n".join(lines) + "\n", encoding="utf-8")


COLUMNS = (
    "seed", "faults", "cells", "lost", "doubled", "hidden", "calls", "failed calls", "repeated",
    "bound", "shown", "next call p50 / max s", "taken up p50 / max s", "manual steps",
)  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Write the rows in Markdown."""
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "| ---: " * len(COLUMNS) + "|",
    ]
    lines += [_line(row.name, [row]) for row in rows]
    if rows:
        lines.append(_line(f"all {len(rows)}", rows))
    return "\n".join(lines)


def _line(name: str, rows: Sequence[Row]) -> str:
    names = ("cells", "lost", "doubled", "hidden", "calls", "failures", "repeated", "bound",
             "shown")  # fmt: skip
    sums = [sum(getattr(row.figures, name) for row in rows) for name in names]
    cells = [
        name,
        sum(sum(row.faults.values()) for row in rows),
        *sums,
        _spread([one for row in rows for one in row.next_call]),
        _spread([one for row in rows for one in row.taken_up]),
        0,
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.1f} / {max(seconds):.1f}" if seconds else "-"


def _kinds(rows: Sequence[Row]) -> str:
    kinds: Counter[str] = Counter()
    for row in rows:
        kinds.update(row.faults)
    return ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--cells", type=int, default=6_000)
    parser.add_argument("--longest", type=float, default=40.0, help="seconds of faults a seed")
    parser.add_argument("--outage", type=float, default=60.0, help="seconds without Postgres")
    parser.add_argument("--rounds", type=int, default=5, help="kills of a whole stack")
    parser.add_argument("--report", type=Path, default=Path("build/faults.md"))
    given = parser.parse_args(arguments)
    seeds = [given.seed] if given.seed is not None else range(1, given.seeds + 1)
    rows: list[Row] = []
    for seed in seeds:
        print(f"seed {seed}: make faults SEED={seed}", flush=True)
        rows.append(told(run(seed, given.cells, given.longest)))
    if given.outage and given.seed is None:
        rows.append(told(long_outage(given.cells // 2, given.outage)))
    stacks = kill_whole_stacks(given.rounds) if given.seed is None and given.rounds else None
    report(given.report, rows, stacks)
    return int(any(row.violations for row in rows) or bool(stacks and stacks.violations))


def told(row: Row) -> Row:
    """Print what a run came to."""
    print(f"  {row.seconds:.0f} s, {row.figures}", flush=True)
    for violation in row.violations:
        print(f"  VIOLATION {violation}", flush=True)
    return row


def report(path: Path, rows: Sequence[Row], stacks: StackKills | None) -> None:
    """Write the table and print it."""
    parts = [f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.", table(rows), _kinds(rows)]
    if stacks is not None:
        parts.append(stacks.table())
    text = "\n\n".join(parts) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
