"""Whole answers to whole requests: recorded with their cells, and read with them in order."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from psycopg import Cursor
from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.jobs import CellRecord, Outcome
from hikaku.storage import datasets
from hikaku.storage.tables import CellResponse, CellResult, DatasetRow, Job

_COPY = (
    "copy cell_response (bucket, job_id, endpoint, row, repeat, status, request_id, body)"
    " from stdin (format binary)"
)
_TYPES = ["int2", "uuid", "int2", "int4", "int2", "int2", "text", "text"]
_LAND = (
    "insert into cell_response as r (bucket, job_id, endpoint, row, repeat, status, request_id,"
    " body) values (%s, %s, %s, %s, %s, %s, %s, %s)"
    " on conflict (bucket, job_id, endpoint, row, repeat) do update"
    " set status = excluded.status, request_id = excluded.request_id, body = excluded.body"
)

_KEY_COLUMNS = 5


class Answered(NamedTuple):
    """A cell of a job whose rows are whole requests."""

    row: int
    key: str
    """The row's."""
    outcome: Outcome | None
    """None for a cell that nothing is recorded of."""
    error: str | None
    status: int | None
    """None, as the next two, when no answer was kept."""
    request_id: str | None
    body: str | None


def copy(cursor: Cursor[object], records: Sequence[CellRecord]) -> None:
    """Record the answers of cells that are new to the tables."""
    lines = list(_lines(records))
    if not lines:
        return
    with cursor.copy(_COPY) as into:
        into.set_types(_TYPES)
        for line in lines:
            into.write_row(line)


def land(
    cursor: Cursor[object], records: Sequence[CellRecord], landed: Collection[tuple[object, ...]]
) -> None:
    """Record the answers of those cells that landed; a retry's replaces the one before it."""
    lines = [line for line in _lines(records) if line[:_KEY_COLUMNS] in landed]
    if lines:
        cursor.executemany(_LAND, lines)


def page(session: Session, job: Job, *, after: int | None, limit: int) -> list[Answered]:
    """Read cells with their answers in the order of the rows, also those without a result.

    Only for jobs on one endpoint that ask each row once.
    """
    row, cell, answer = DatasetRow, CellResult, CellResponse
    of_job = and_(
        cell.bucket == job.bucket, cell.job_id == job.id, cell.row == row.row,
        cell.endpoint == 0, cell.repeat == 0,
    )  # fmt: skip
    of_cell = and_(
        answer.bucket == cell.bucket, answer.job_id == cell.job_id, answer.row == cell.row,
        answer.endpoint == cell.endpoint, answer.repeat == cell.repeat,
    )  # fmt: skip
    statement = (
        select(
            row.row, row.key, cell.outcome, cell.error, answer.status, answer.request_id,
            answer.body,
        )
        .outerjoin(cell, of_job)
        .outerjoin(answer, of_cell)
        .where(
            row.bucket == datasets.bucket_of(job.revision_id),
            row.revision_id == job.revision_id,
        )
        .where(row.row > (-1 if after is None else after))
        .order_by(row.row)
        .limit(limit)
    )  # fmt: skip
    found: Iterable[tuple[Any, ...]] = session.execute(statement)
    return [
        Answered(number, key, outcome and Outcome(outcome), *rest)
        for number, key, outcome, *rest in found
    ]


def _lines(records: Sequence[CellRecord]) -> Iterator[tuple[object, ...]]:
    for record in records:
        if (response := record.response) is not None:
            at = record.address
            job = ids.decode(ids.JOB, at.job_id)
            key = (at.bucket, job, at.endpoint, at.row, at.repeat)
            yield (*key, response.status, response.request_id, response.body)
