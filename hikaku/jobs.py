"""Job, shard, cell: their states, their legal moves and what one cell ends with.

What there is one or more of for every cell is a struct: made ten times as fast as a frozen
dataclass, and no work for the garbage collector.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from hikaku.errors import Conflict


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"  #: Planned and stored; no shard has been claimed.
    RUNNING = "running"  #: At least one shard has been claimed.
    PAUSED = "paused"  #: No new call starts until it is resumed.
    CANCELLING = "cancelling"  #: No new call starts; calls in flight are finishing.
    COMPLETED = "completed"  #: Every cell has an outcome, and none failed.
    COMPLETED_WITH_ERRORS = "completed_with_errors"  #: Every cell has an outcome; some failed.
    FAILED = "failed"  #: A shard could not be run at all; what was recorded is kept.
    CANCELLED = "cancelled"  #: Stopped on request; what was recorded is kept.

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens without a new request (retry, extend)."""
        return self in _FINAL


_FINAL = frozenset(
    {JobState.COMPLETED, JobState.COMPLETED_WITH_ERRORS, JobState.FAILED, JobState.CANCELLED}
)


class Control(StrEnum):
    """What a person may do with a job that is there."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"
    EXTEND = "extend"


_GOING = frozenset({JobState.QUEUED, JobState.RUNNING})
_STAY = {state: state for state in JobState}
_AGAIN = dict.fromkeys(_FINAL, JobState.QUEUED)

_CONTROLS: Mapping[Control, Mapping[JobState, JobState]] = {
    Control.PAUSE: dict.fromkeys({*_GOING, JobState.PAUSED}, JobState.PAUSED),
    Control.RESUME: {state: _STAY[state] for state in _GOING} | {JobState.PAUSED: JobState.RUNNING},
    Control.CANCEL: dict.fromkeys({*_GOING, JobState.PAUSED}, JobState.CANCELLING)
    | {state: _STAY[state] for state in (JobState.CANCELLING, JobState.CANCELLED)},
    Control.RETRY: _AGAIN,
    Control.EXTEND: {state: _STAY[state] for state in (*_GOING, JobState.PAUSED)}
    | dict.fromkeys(_FINAL - {JobState.CANCELLED}, JobState.QUEUED),
}
"""Where a control leads from each state that allows it. Repeating one changes nothing."""

_MENDS: Mapping[Control, str] = {
    Control.PAUSE: "only a job that is queued or running can be paused",
    Control.RESUME: "only a paused job is resumed; retry-failed or extend takes up an ended one",
    Control.CANCEL: "there is nothing left to cancel",
    Control.RETRY: "failed cells are retried when it has ended: wait for that, or cancel it",
    Control.EXTEND: "submit a new job: with `reuse` on, what was bought is not bought again",
}


def after(control: Control, now: JobState) -> JobState:
    """Give the state that a control leads to; the same one when there is nothing to do.

    Raises:
        Conflict: A job in state `now` does not allow it; says what to do instead.
    """
    then = _CONTROLS[control].get(now)
    if then is None:
        raise Conflict(f"the job is {now}, which does not allow {control}: {_MENDS[control]}")
    return then


class ShardState(StrEnum):
    """Where a shard stands."""

    QUEUED = "queued"  #: Waiting for a worker.
    RUNNING = "running"  #: Leased by a worker.
    DONE = "done"  #: Every one of its cells has an outcome.
    DEAD = "dead"  #: Claimed too often without finishing; fails its job.
    CANCELLED = "cancelled"  #: Its job was cancelled.


class ShardKind(StrEnum):
    """What is done with the cells of a shard."""

    ASK = "ask"  #: Ask the endpoint, score, record.
    SCORE = "score"  #: Judge what is recorded by the scorers it lacks; no call is made.


class Outcome(StrEnum):
    """How one cell ended. A failure is never a zero: it carries no score at all."""

    OK = "ok"  #: The model answered to its own end.
    TRUNCATED = "truncated"  #: The model answered and was cut at the token limit; scored as it is.
    REFUSED = "refused"  #: The provider's filter or the model's refusal field stopped the answer.
    INVALID_REQUEST = "invalid_request"  #: The request can never succeed as it is.
    RATE_LIMITED = "rate_limited"  #: Still limited, or out of quota, after the retries.
    TIMEOUT = "timeout"  #: No answer in time after the retries.
    PROVIDER_ERROR = "provider_error"  #: Unreachable or 5xx after the retries.
    MALFORMED = "malformed"  #: Answered with something that is not an answer.
    BUDGET_SKIPPED = "budget_skipped"  #: Not asked: the job's budget was spent.
    CANCELLED = "cancelled"  #: Not asked: the job ended before, mostly because it was cancelled.

    @property
    def is_answered(self) -> bool:
        """Whether there is a completion to score."""
        return self in {Outcome.OK, Outcome.TRUNCATED}

    @property
    def is_failed(self) -> bool:
        """Whether "retry failed" takes the cell up again and the job ends with errors."""
        return self in FAILED_OUTCOMES


FAILED_OUTCOMES = frozenset(
    {
        Outcome.INVALID_REQUEST,
        Outcome.RATE_LIMITED,
        Outcome.TIMEOUT,
        Outcome.PROVIDER_ERROR,
        Outcome.MALFORMED,
        Outcome.BUDGET_SKIPPED,
    }
)

RETRIED_OUTCOMES = FAILED_OUTCOMES | {Outcome.CANCELLED}
"""What a retry may replace: failures, and by name what was never asked."""


def by_outcome(
    recorded: Mapping[Outcome, int], planned: int, state: JobState
) -> dict[Outcome, int]:
    """Count the cells of a job; in one that has ended each cell has an outcome.

    What was never asked then is cancelled. It has no row: there may be a million of them.
    """
    counts = {outcome: recorded.get(outcome, 0) for outcome in Outcome}
    if state.is_final:
        counts[Outcome.CANCELLED] += max(0, planned - sum(counts.values()))
    return counts


class AttemptOutcome(StrEnum):
    """How one HTTP call ended."""

    OK = "ok"
    REFUSED = "refused"
    INVALID_REQUEST = "invalid_request"
    RATE_LIMITED = "rate_limited"
    TIMEOUT = "timeout"
    PROVIDER_ERROR = "provider_error"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"  #: Sent, and then the worker died: the provider may have billed it.

    @property
    def may_be_billed(self) -> bool:
        """Whether the provider may have counted it, whatever it reported."""
        return self in _MAY_BE_BILLED


_MAY_BE_BILLED = frozenset(
    {
        AttemptOutcome.OK,
        AttemptOutcome.REFUSED,
        AttemptOutcome.MALFORMED,
        AttemptOutcome.UNKNOWN,
        AttemptOutcome.TIMEOUT,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One (row, endpoint, repeat) of a job: the unit of work and of result."""

    row: int
    """Row number in the dataset revision, from 0."""
    repeat: int
    """Which of the job's repeats, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """A shard to be put on the broker; whether there is anything to do, Postgres decides."""

    shard_id: int
    priority: int


class CellScore(Struct, frozen=True, kw_only=True, gc=False):
    """One scorer's verdict on one completion."""

    scorer: int
    """Position in the job's list of scorers, from 0."""
    value: float | None
    """None when the scorer could not judge; never 0 for that."""
    unscored: str | None = None
    """Why there is no value."""
    detail: str | None = None
    """What the scorer extracted or compared, for the reader."""


class Attempt(Struct, frozen=True, kw_only=True, gc=False):
    """One HTTP call made for a cell."""

    number: int
    """From 1, within this round of the cell."""
    outcome: AttemptOutcome
    started_at: datetime
    latency_ms: float | None = None
    status: int | None = None
    """HTTP status; None when no response came."""
    error: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None
    reserved_usd: Decimal | None = None
    """What was set aside for it, where a budget holds: the most that it can cost."""


class CellAddress(Struct, frozen=True, kw_only=True, gc=False):
    """Which cell, and under which claim of which shard it was worked on."""

    job_id: str
    bucket: int
    """Partition of the result tables, fixed when the job is planned."""
    endpoint: int
    """Position in the job's list of endpoints, from 0."""
    row: int
    repeat: int
    round: int
    """0 for the first time a cell is run, n for its nth retry on request."""
    shard_id: int
    epoch: int


class CellCalls(Struct, frozen=True, kw_only=True, gc=False):
    """Calls made for a cell that was not settled: it will be asked again."""

    address: CellAddress
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResponse:
    """What a whole request was answered with, kept as it came."""

    status: int
    """HTTP status that a client would have seen."""
    request_id: str
    body: str
    """JSON, on one line."""


class CellRecord(Struct, frozen=True, kw_only=True, gc=False):
    """What is recorded of a cell, once."""

    address: CellAddress
    outcome: Outcome
    recorded_at: datetime
    completion: str | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    latency_ms: float | None = None
    """Of the answering call alone: waits and retries are not the model's latency."""
    cost_usd: Decimal | None = None
    """None when the price or the usage is not known; never 0 for that."""
    error: str | None = None
    reused: bool = False
    """Answered from a recorded completion; nothing was bought."""
    request_hash: bytes | None = None
    """Content address of what determines the completion; None if it is not to be reused."""
    attempts: tuple[Attempt, ...] = ()
    scores: tuple[CellScore, ...] = ()
    response: CellResponse | None = None
    """Only of jobs whose rows are whole requests."""


LONGEST_REMARK = 2_000
"""Characters of an error or a remark that are kept."""


def failure(
    address: CellAddress, outcome: Outcome, error: str, *, attempts: tuple[Attempt, ...] = ()
) -> CellRecord:
    """Make the record of a cell without a completion."""
    return CellRecord(
        address=address,
        outcome=outcome,
        recorded_at=datetime.now(UTC),
        error=kept(error),
        attempts=attempts,
    )


def is_text(text: str) -> bool:
    """Tell whether Postgres can keep a text: U+0000 and lone surrogates are not text."""
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def kept(remark: str | None) -> str | None:
    """Make a remark of somebody else fit to be kept: storable, and not too long."""
    if remark is None or (is_text(remark) and len(remark) <= LONGEST_REMARK):
        return remark
    whole = remark.encode(errors="backslashreplace").decode().replace("\x00", "\\x00")
    return whole[:LONGEST_REMARK]
