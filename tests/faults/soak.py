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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.storm import TIMES, WORKERS, Storm
from tests.faults.whole_stack import StackKills, kill_whole_stacks
from tests.support.arena import Arena, arena
from tests.support.history import (
    Figures,
    History,
    Violation,
    figures,
    next_call_after,
    taken_up_after,
)


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
        storm.close()
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
