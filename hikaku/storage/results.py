"""Reads what was recorded: pages of cells, whole jobs as streams, and what comparisons need."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, literal, select, text, tuple_
from sqlalchemy.orm import Session

from hikaku.jobs import Outcome
from hikaku.storage import datasets
from hikaku.storage.tables import CellResult, DatasetRow, Job, Score, Shard

PAGE = 250
"""Cells read at once when a whole job is streamed."""


class CellKey(NamedTuple):
    """A cell's place in its job; pages and streams are in this order."""

    endpoint: int
    row: int
    repeat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadScore:
    """One scorer's verdict on one cell."""

    scorer: int
    value: float | None
    unscored: str | None
    detail: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCell:
    """A recorded cell with its row and its scores."""

    key: CellKey
    row_key: str
    variables: dict[str, Any]
    outcome: Outcome
    completion: str | None
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    latency_ms: float | None
    cost_usd: Decimal | None
    error: str | None
    reused: bool
    n_attempts: int
    recorded_at: datetime
    scores: tuple[ReadScore, ...]


def cells(
    session: Session,
    job: Job,
    *,
    after: CellKey | None = None,
    limit: int = 100,
    outcomes: Sequence[Outcome] = (),
    endpoint: int | None = None,
) -> list[ReadCell]:
    """Read a page of recorded cells, in the order of `CellKey`.

    Args:
        session: The transaction.
        job: The job.
        after: The last cell already seen.
        limit: How many at most.
        outcomes: Only cells that ended so; all if empty.
        endpoint: Only cells of the endpoint at this position.
    """
    session.execute(_IN_ORDER)
    statement = _cells_of(job).order_by(*_ORDER)
    if after is not None:
        statement = statement.where(tuple(after) < _PLACE)
    if endpoint is not None:
        statement = statement.where(CellResult.endpoint == endpoint)
    if not outcomes:
        found = list(session.scalars(statement.limit(limit)))
    else:
        statement = statement.where(CellResult.outcome.in_(outcomes))
        ahead = [
            one
            for one in _stretches(session, job, outcomes)
            if (after is None or (one.endpoint, one.row_to) > after[:2])
            and endpoint in {None, one.endpoint}
        ]
        found = _from_stretches(session, statement, ahead, limit)
    keys = [_key(result) for result in found]
    rows = _rows(session, job, keys)
    scores = _scores(session, job, keys, has_gaps=bool(outcomes))
    return [_read(result, rows[result.row], scores) for result in found]


class _Stretch(NamedTuple):
    """Rows of one endpoint, from the first to before the last."""

    endpoint: int
    row_from: int
    row_to: int


def _stretches(session: Session, job: Job, outcomes: Sequence[Outcome]) -> list[_Stretch]:
    """Say where cells with these outcomes can be, by the counters of the shards.

    A page of failures of a job that has none reads none of its cells.
    """
    count: ColumnElement[int] = sum(
        (getattr(Shard, f"n_{outcome}") for outcome in outcomes), literal(0)
    )
    statement = (
        select(Shard.endpoint, Shard.row_from, Shard.row_to)
        .where(Shard.job_id == job.id, count > 0)
        .order_by(Shard.endpoint, Shard.row_from)
    )
    found: list[_Stretch] = []
    for endpoint, row_from, row_to in session.execute(statement):
        last = found[-1] if found else None
        if last is not None and last.endpoint == endpoint and last.row_to >= row_from:
            found[-1] = last._replace(row_to=max(last.row_to, row_to))
        else:
            found.append(_Stretch(endpoint, row_from, row_to))
    return found


def _from_stretches(
    session: Session, statement: Select[CellResult], stretches: Sequence[_Stretch], limit: int
) -> list[CellResult]:
    found: list[CellResult] = []
    for endpoint, row_from, row_to in stretches:
        inside = statement.where(
            CellResult.endpoint == endpoint,
            CellResult.row >= row_from,
            CellResult.row < row_to,
        )
        found += session.scalars(inside.limit(limit - len(found)))
        if len(found) >= limit:
            break
    return found


def stream(session: Session, job: Job, *, endpoint: int | None = None) -> Iterator[ReadCell]:
    """Read all recorded cells of a job in order, a page in memory at a time."""
    after: CellKey | None = None
    while page := cells(session, job, after=after, limit=PAGE, endpoint=endpoint):
        yield from page
        session.expunge_all()
        after = page[-1].key


_ORDER = (CellResult.endpoint, CellResult.row, CellResult.repeat)
_PLACE = tuple_(*_ORDER)

_IN_ORDER = text(
    "select set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true)"
)
"""The cells are read in the order of their key. Before the first `analyze` of a partition Postgres
takes a job for a few cells, and would fetch and sort all million of them for the first 50."""


def _cells_of(job: Job) -> Select[CellResult]:
    return select(CellResult).where(CellResult.bucket == job.bucket, CellResult.job_id == job.id)


def _rows(session: Session, job: Job, keys: Sequence[CellKey]) -> dict[int, DatasetRow]:
    """Read the rows of a page alone: a join would trust statistics that are not there yet."""
    numbers = sorted({key.row for key in keys})
    if not numbers:
        return {}
    is_run = numbers[-1] - numbers[0] < 2 * len(numbers)
    on_the_page = (
        DatasetRow.row.between(numbers[0], numbers[-1]) if is_run else DatasetRow.row.in_(numbers)
    )
    statement = select(DatasetRow).where(
        DatasetRow.bucket == datasets.bucket_of(job.revision_id),
        DatasetRow.revision_id == job.revision_id,
        on_the_page,
    )
    return {row.row: row for row in session.scalars(statement)}


def _key(result: CellResult) -> CellKey:
    return CellKey(result.endpoint, result.row, result.repeat)


def _scores(
    session: Session, job: Job, keys: Sequence[CellKey], *, has_gaps: bool
) -> dict[CellKey, tuple[ReadScore, ...]]:
    """Read the scores of a page; one without gaps is one range of the index."""
    if not keys:
        return {}
    place = tuple_(Score.endpoint, Score.row, Score.repeat)
    on_the_page = (
        place.in_([tuple(key) for key in keys])
        if has_gaps
        else and_(place >= tuple(keys[0]), place <= tuple(keys[-1]))
    )
    statement = (
        select(Score)
        .where(Score.bucket == job.bucket, Score.job_id == job.id, on_the_page)
        .order_by(Score.endpoint, Score.row, Score.repeat, Score.scorer)
    )
    found: dict[CellKey, tuple[ReadScore, ...]] = {}
    for score in session.scalars(statement):
        key = CellKey(score.endpoint, score.row, score.repeat)
        read = ReadScore(
            scorer=score.scorer, value=score.value, unscored=score.unscored, detail=score.detail
        )
        found[key] = (*found.get(key, ()), read)
    return found


def _read(
    result: CellResult,
    row: DatasetRow,
    scores: dict[CellKey, tuple[ReadScore, ...]],
) -> ReadCell:
    key = _key(result)
    return ReadCell(
        key=key,
        row_key=row.key,
        variables=row.data,
        outcome=Outcome(result.outcome),
        completion=result.completion,
        finish_reason=result.finish_reason,
        input_tokens=result.input_tokens,
        output_tokens=result.output_tokens,
        latency_ms=result.latency_ms,
        cost_usd=result.cost_usd,
        error=result.error,
        reused=result.reused,
        n_attempts=result.n_attempts,
        recorded_at=result.recorded_at,
        scores=scores.get(key, ()),
    )
