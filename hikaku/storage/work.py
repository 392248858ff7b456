"""What is left to do in a claimed shard, and on whose behalf.

Read for every shard, so it is plain SQL that stays prepared: an entity costs as much as 50 cells.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.jobs import RETRIED_OUTCOMES, Cell
from hikaku.storage.claims import Claim
from hikaku.storage.connection import driver

_CHARGE = """
select j.bucket, j.project, coalesce(p.weight, 1), j.priority, j.snapshot::text,
       exists (select from budget b where (b.kind = 'job' and b.owner = %s)
                                       or (b.kind = 'project' and b.owner = j.project))
  from job j left join project p on p.name = j.project
 where j.id = %s
"""

_SPAN = """
select j.bucket, j.id, s.endpoint, s.round, s.row_from, s.row_to, s.repeat_from, s.repeat_to,
       s.rows, s.repeats, r.bucket, r.id
  from shard s join job j on j.id = s.job_id join dataset_revision r on r.id = j.revision_id
 where s.id = %s
"""

_IS_SETTLED = """
   and c.bucket = %s and c.job_id = %s and c.endpoint = %s
   and (c.round >= %s or c.outcome <> all(%s))
"""

_SETTLED = f"""
select c.row, c.repeat from cell_result c where c.row >= %s and c.row < %s {_IS_SETTLED}
"""  # noqa: S608 - nothing of a request is in it

_SETTLED_LISTED = f"""
select c.row, c.repeat from cell_result c
  join unnest(%s::int4[], %s::int2[]) as listed(row, repeat) using (row, repeat)
 where true {_IS_SETTLED}
"""  # noqa: S608 - nothing of a request is in it

_ROWS = """
select row, data::text from dataset_row
 where bucket = %s and revision_id = %s and row >= %s and row < %s order by row
"""

_ROWS_LISTED = """
select row, data::text from dataset_row
 where bucket = %s and revision_id = %s and row = any(%s::int4[]) order by row
"""

_FAILED = [outcome.value for outcome in RETRIED_OUTCOMES]

_variables = msgspec.json.Decoder(dict[str, object]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One row of a claimed shard and the repeats of it that have no result yet."""

    row: int
    variables: dict[str, object]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """The job that a shard is claimed for."""

    bucket: int
    project: str
    weight: float
    """Of the project."""
    priority: int
    snapshot: str
    """JSON of a `Snapshot`, the same text for as long as the job is not extended."""
    is_held: bool
    """Whether a budget holds it: its own, or its project's."""


def charge(session: Session, claimed: Claim) -> Charge:
    """Read what a claim was made for."""
    job = ids.decode(ids.JOB, claimed.job_id)
    found = driver(session).execute(_CHARGE, [claimed.job_id, job]).fetchone()
    if found is None:
        raise LookupError(f"{claimed.job_id} is gone")  # a shard goes with its job
    bucket, project, weight, priority, snapshot, is_held = found
    return Charge(
        bucket=bucket,
        project=project,
        weight=weight,
        priority=priority,
        snapshot=snapshot,
        is_held=is_held,
    )


def left_to_do(session: Session, shard_id: int) -> list[Work]:
    """List what is left to do in a shard, by row; a recorded cell is never listed."""
    connection = driver(session)
    found = connection.execute(_SPAN, [shard_id]).fetchone()
    if found is None:
        return []
    bucket, job, endpoint, round_, first, end, first_repeat, end_repeat, *more = found
    rows, repeats, rows_bucket, revision = more
    settled_by = (bucket, job, endpoint, round_, _FAILED)
    revision_rows = (rows_bucket, revision)
    if rows is None:
        settled = connection.execute(_SETTLED, [first, end, *settled_by])
        wanted = {(r, n) for r in range(first, end) for n in range(first_repeat, end_repeat)}
        data = connection.execute(_ROWS, [*revision_rows, first, end])
    else:
        settled = connection.execute(_SETTLED_LISTED, [rows, repeats, *settled_by])
        wanted = set(zip(rows, repeats, strict=True))
        data = connection.execute(_ROWS_LISTED, [*revision_rows, rows])
    return _by_row(wanted.difference(settled), data)


def _by_row(wanted: Iterable[tuple[int, int]], data: Iterable[tuple[Any, ...]]) -> list[Work]:
    cells: dict[int, list[Cell]] = {}
    for row, repeat in sorted(wanted):
        cells.setdefault(row, []).append(Cell(row=row, repeat=repeat))
    return [
        Work(row=row, variables=_variables(text), cells=tuple(cells[row]))
        for row, text in data
        if row in cells
    ]
