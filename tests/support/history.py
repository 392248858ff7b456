"""Holds three independent records of a job against each other, and names what does not fit.

The provider's own log says what was asked and answered; the ledger says what we believe we asked;
the results say what came of it. Nothing here reads a database or a file: `tests.support.records`
does, so that a test can plant a violation and see it found.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from typing_extensions import override

Cell = tuple[str, str]
"""Model and prompt: what a provider can know of a cell."""

READING = 3.0
"""Seconds that an answer which left the provider may need to be in the asker's spool: an asker
that a busy machine does not let run for a while reads nothing."""

STORING = 2.0
"""Seconds that an answer in the spool may need to be in Postgres."""

ANSWERED = frozenset({"ok", "refused", "truncated"})
SEEN = ANSWERED | {"unknown"}
"""All else in the ledger is a failure, after which a call may be made again."""
MAY_BE_BILLED = frozenset({"ok", "refused", "malformed", "unknown", "timeout"})
FINAL = frozenset({"completed", "completed_with_errors", "failed", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as the provider saw it."""

    cell: Cell
    caller: str
    at: float
    answered_at: float | None
    status: int | None
    """200 is an answer; None is none yet; all else is a failure that may be tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the ledger."""

    cell: Cell
    shard: int
    epoch: int
    number: int
    outcome: str
    cost: Decimal | None
    input_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A recorded cell."""

    cell: Cell
    shard: int
    outcome: str
    completion: str | None
    reused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardState:
    """A shard and its counters."""

    id: int
    state: str
    is_held: bool
    """By a worker whose lease is good."""
    outcomes: Mapping[str, int]
    calls: int
    repeated: int
    input_tokens: int
    output_tokens: int
    cost: Decimal
    cost_unknown: int


class Harm(StrEnum):
    """What was done to a worker."""

    KILLED = "killed"
    """It died: what its spool holds is not lost, only what it had not been told."""
    SHUT_OUT = "shut out"
    """It was frozen, or cut off from Postgres: nobody can read its spool meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something done on purpose that may cost calls."""

    harm: Harm
    caller: str
    at: float
    most: int
    """Calls that it may have in flight at once, by its configuration."""
    safe_until: float | None = None
    """What was answered before this moment was safe; None reckons it from `at`."""
    asks_until: float | None = None
    """When its last call can have arrived; None: soon after `at`. Later ones are not excused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that is known of one job."""

    planned: Sequence[Cell]
    calls: Sequence[Call]
    ledger: Sequence[Line]
    results: Sequence[Result]
    shards: Sequence[ShardState]
    job_state: str
    faults: Sequence[Fault] = ()
    shown_calls: int
    shown_repeated: int
    shown_cost: Decimal | None
    """What `GET /jobs/{id}` says; None when no price is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """An invariant that does not hold, and where."""

    invariant: str
    what: str
    cells: tuple[Cell, ...] = ()

    @override
    def __str__(self) -> str:
        shown = ", ".join(f"{model}:{prompt}" for model, prompt in self.cells[:5])
        more = f" and {len(self.cells) - 5} more" if len(self.cells) > 5 else ""
        return f"{self.invariant}: {self.what}" + (f" [{shown}{more}]" if shown else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One line of the table."""

    cells: int
    lost: int
    doubled: int
    calls: int
    failures: int
    repeated: int
    """By the provider's log: calls beyond the first of a cell and beyond its failures."""
    bound: int
    shown: int
    hidden: int
    """Calls that the provider saw and the ledger does not know."""


def figures(history: History) -> Figures:
    """Count what a table shows."""
    recorded = Counter(result.cell for result in history.results)
    return Figures(
        cells=len(history.planned),
        lost=sum(cell not in recorded for cell in history.planned),
        doubled=sum(n - 1 for n in recorded.values()),
        calls=len(history.calls),
        failures=sum(_has_failed(call) for call in history.calls),
        repeated=sum(_repeated(history).values()),
        bound=bound(history),
        shown=history.shown_repeated,
        hidden=sum(_hidden(history).values()),
    )


def bound(history: History) -> int:
    """Calls that the faults can excuse: those in flight at each of them."""
    return sum(_in_flight(fault, history.calls) for fault in history.faults)


def check(history: History) -> list[Violation]:
    """Find every violation; an empty list is a history in which all invariants hold."""
    found: list[Violation] = []
    for rule in (_once, _true, _bounded, _known, _shown, _ended, _counted, _at_rest):
        found += rule(history)
    return found


def late_calls(calls: Iterable[Call], cancelled_at: float, grace: float) -> list[Violation]:
    """I8: no call starts later than `grace` seconds after a cancellation."""
    late = [call.cell for call in calls if call.at > cancelled_at + grace]
    return [Violation(invariant="I8", what="asked after the job was cancelled",
                      cells=tuple(late))] if late else []  # fmt: skip


def too_fast(
    calls: Iterable[Call], *, per_second: float, burst: float, over: float = 1.0
) -> list[Violation]:
    """I7: in no window of `over` seconds arrive more calls than the limit and its burst allow."""
    times = sorted(call.at for call in calls)
    allowed = per_second * over + burst
    first = 0
    for last, at in enumerate(times):
        while times[first] < at - over:
            first += 1
        if last - first + 1 > allowed:
            what = f"{last - first + 1} calls in {over:g} s where {allowed:g} are allowed"
            return [Violation(invariant="I7", what=what)]
    return []


def doubled_slots(slots: Iterable[tuple[str, str, str | None]], jobs: int) -> list[Violation]:
    """I6: each fired slot has one job of its own, and no job has none.

    Args:
        slots: Schedule, moment and job of each slot that was fired.
        jobs: How many jobs there are that a schedule submitted.
    """
    fired = list(slots)
    found = []
    if len({(schedule, at) for schedule, at, _ in fired}) != len(fired):
        found.append(Violation(invariant="I6", what="a slot was fired twice"))
    made = [job for _, _, job in fired if job is not None]
    if len(set(made)) != len(fired) or len(fired) != jobs:
        what = f"{len(fired)} slots, {len(set(made))} of them with a job, {jobs} jobs"
        found.append(Violation(invariant="I6", what=what))
    return found


def next_call_after(history: History, fault: Fault) -> float | None:
    """Seconds from a fault until anybody else asked anything; None if all had been asked."""
    later = [c.at for c in history.calls if c.at > fault.at and c.caller != fault.caller]
    return min(later) - fault.at if later else None


def taken_up_after(history: History, fault: Fault) -> float | None:
    """Seconds from a fault until a cell that it interrupted was asked again; None if none was."""
    cells = {call.cell for call in _suspects(fault, history.calls)}
    again = [
        call.at
        for call in history.calls
        if call.cell in cells and call.at > fault.at and call.caller != fault.caller
    ]
    return min(again) - fault.at if again else None


def _once(history: History) -> Iterator[Violation]:
    recorded = Counter(result.cell for result in history.results)
    lost = tuple(cell for cell in history.planned if cell not in recorded)
    doubled = tuple(cell for cell, n in recorded.items() if n > 1)
    foreign = tuple(recorded.keys() - set(history.planned))
    if lost and history.job_state != "cancelled":
        yield Violation(invariant="I1", what=f"{len(lost)} cells have no result", cells=lost)
    if doubled:
        yield Violation(invariant="I1", what="cells with more than one result", cells=doubled)
    if foreign:
        yield Violation(invariant="I1", what="results of no planned cell", cells=foreign)


def _true(history: History) -> Iterator[Violation]:
    answered = {call.cell for call in history.calls if call.status == 200}
    ok = [result for result in history.results if result.outcome == "ok" and not result.reused]
    crossed = tuple(r.cell for r in ok if r.completion != ":".join(r.cell))
    invented = tuple(r.cell for r in ok if r.cell not in answered)
    if crossed:
        yield Violation(invariant="I1", what="the answer of another cell", cells=crossed)
    if invented:
        yield Violation(invariant="I1", what="an answer that nobody gave", cells=invented)


def _bounded(history: History) -> Iterator[Violation]:
    repeated = _repeated(history)
    allowed = bound(history)
    if sum(repeated.values()) > allowed:
        what = f"{sum(repeated.values())} calls repeated, {allowed} were in flight at the faults"
        yield Violation(invariant="I2", what=what, cells=tuple(repeated))


def _known(history: History) -> Iterator[Violation]:
    hidden = _hidden(history)
    if hidden:
        what = f"{sum(hidden.values())} calls are not in the ledger"
        yield Violation(invariant="I2", what=what, cells=tuple(hidden))


def _shown(history: History) -> Iterator[Violation]:
    # An answer that its asker did not wait for (it was frozen, and woke after its time limit) is
    # a failure in the ledger, and what follows it a retry: shown, priced, and not a repetition.
    failed = Counter(line.cell for line in history.ledger if line.outcome not in SEEN)
    repeated = _repeated(history, failed)
    if history.shown_repeated < repeated.total():
        what = f"{repeated.total()} calls were repeated and the job shows {history.shown_repeated}"
        yield Violation(invariant="I2", what=what, cells=tuple(repeated))
    if history.shown_calls != len(history.ledger):
        what = f"{len(history.ledger)} calls in the ledger, the job shows {history.shown_calls}"
        yield Violation(invariant="I4", what=what)
    costs = [line.cost for line in history.ledger if line.cost is not None]
    if costs and history.shown_cost != sum(costs):
        what = f"the ledger's calls cost {sum(costs)}, the job shows {history.shown_cost}"
        yield Violation(invariant="I4", what=what)


def _ended(history: History) -> Iterator[Violation]:
    outcomes = {result.outcome for result in history.results}
    if history.job_state not in FINAL:
        yield Violation(invariant="I3", what=f"the job is {history.job_state}")
    elif history.job_state == "completed" and not outcomes <= ANSWERED:
        yield Violation(invariant="I3", what=f"the job is completed with {sorted(outcomes)}")


def _counted(history: History) -> Iterator[Violation]:
    rows: dict[int, Counter[str]] = defaultdict(Counter)
    for result in history.results:
        rows[result.shard][result.outcome] += 1
    sums = _ledger_sums(history.ledger)
    for shard in history.shards:
        counters = {outcome: n for outcome, n in shard.outcomes.items() if n}
        if counters != dict(rows[shard.id]):
            what = f"shard {shard.id} counts {counters}, its results are {dict(rows[shard.id])}"
            yield Violation(invariant="I4", what=what)
        kept = (shard.calls, shard.repeated, shard.input_tokens, shard.output_tokens, shard.cost,
                shard.cost_unknown)  # fmt: skip
        if kept != sums[shard.id].all():
            what = f"shard {shard.id} counts {kept}, its ledger {sums[shard.id].all()}"
            yield Violation(invariant="I4", what=what)


def _at_rest(history: History) -> Iterator[Violation]:
    for shard in history.shards:
        if shard.state == "running" and not shard.is_held:
            yield Violation(invariant="I5", what=f"shard {shard.id} runs without a live lease")
        elif shard.state in {"running", "queued"} and history.job_state in FINAL:
            what = f"shard {shard.id} is {shard.state} in a job that is {history.job_state}"
            yield Violation(invariant="I5", what=what)


@dataclass(slots=True)
class _Sums:
    calls: int = 0
    repeated: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    cost_unknown: int = 0

    def all(self) -> tuple[object, ...]:
        return (self.calls, self.repeated, self.input_tokens, self.output_tokens, self.cost,
                self.cost_unknown)  # fmt: skip


def _ledger_sums(ledger: Iterable[Line]) -> dict[int, _Sums]:
    """Add the ledger up by shard.

    A cell's second answer is a repeated call wherever it came from; which of two shards' or
    epochs' answers is the second, the ledger does not say, and it does not matter within a shard.
    """
    sums: dict[int, _Sums] = defaultdict(_Sums)
    answers: Counter[Cell] = Counter()
    for line in ledger:
        total = sums[line.shard]
        total.calls += 1
        total.repeated += line.outcome == "unknown"
        if line.outcome in ANSWERED:
            total.repeated += answers[line.cell] > 0
            answers[line.cell] += 1
        total.input_tokens += line.input_tokens or 0
        total.output_tokens += line.output_tokens or 0
        total.cost += line.cost or 0
        total.cost_unknown += line.cost is None and line.outcome in MAY_BE_BILLED
    return sums


def _repeated(history: History, failed: Mapping[Cell, int] | None = None) -> Counter[Cell]:
    """Count, by cell, the calls beyond the first and beyond one for each failure.

    Args:
        history: The job.
        failed: Failures that somebody else than the provider knows of.
    """
    seen: dict[Cell, list[Call]] = defaultdict(list)
    for call in history.calls:
        seen[call.cell].append(call)
    return +Counter(
        {
            cell: len(calls) - 1 - max(sum(map(_has_failed, calls)), (failed or {}).get(cell, 0))
            for cell, calls in seen.items()
        }
    )


def _has_failed(call: Call) -> bool:
    return call.status not in {None, 200}


def _hidden(history: History) -> Counter[Cell]:
    arrived = Counter(call.cell for call in history.calls)
    noted = Counter(line.cell for line in history.ledger)
    return arrived - noted


def _in_flight(fault: Fault, calls: Iterable[Call]) -> int:
    suspects = sum(1 for _ in _suspects(fault, calls))
    return min(suspects, fault.most) if fault.harm is Harm.KILLED else suspects


def _suspects(fault: Fault, calls: Iterable[Call]) -> Iterator[Call]:
    """Calls whose answer the worker had not brought to safety when the fault came."""
    safe_until = fault.safe_until
    if safe_until is None:
        safe_until = fault.at - (READING if fault.harm is Harm.KILLED else STORING)
    asks_until = fault.at + READING if fault.asks_until is None else fault.asks_until
    for call in calls:
        is_safe = call.answered_at is not None and call.answered_at <= safe_until
        if call.caller == fault.caller and call.at <= asks_until and not is_safe:
            yield call


@dataclass(slots=True)
class Diary:
    """Collects the faults of a run as they are made."""

    most: int
    faults: list[Fault] = field(default_factory=list)

    def note(self, harm: Harm, caller: str, at: float, **more: float | None) -> Fault:
        fault = Fault(harm=harm, caller=caller, at=at, most=self.most, **more)
        self.faults.append(fault)
        return fault
