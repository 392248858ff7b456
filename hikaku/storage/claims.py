"""Who is next: takes a waiting shard for a worker, by the fair shares of projects and jobs.

What a project has is counted as it stands, in lanes: calls that its claimed shards may have in
flight. The project with the least for its weight is next; in it the jobs of the first priority,
and of these the one with the least. Between equals the one that was served longest ago goes
first. Nothing is remembered but that time, so nothing can drift.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Result, text
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.failpoints import Point, reach
from hikaku.jobs import JobState, ShardKind
from hikaku.storage.tables import JobEvent

MOST_LANES = 64
"""Cells of one shard that a worker asks at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A worker's right to run a shard, until the lease ends or the epoch moves on."""

    shard_id: int
    job_id: str
    epoch: int
    endpoint: int
    round: int
    n_cells: int
    kind: ShardKind
    is_listed: bool
    """Whether its cells are a list of their own, as a retry's are, and not a span of rows."""


_NAMED = """
with next as (
    select q.id, q.job_id, j.state from shard q join job j on j.id = q.job_id
     where q.id = :shard and q.state = 'queued' and q.not_before <= now()
       and j.state in ('queued', 'running')
       for update of q skip locked),
"""

_PARTIES = """
with busy as materialized (
    select job_id, sum(least(n_cells, :lanes)) as lanes
      from shard where state = 'running' group by job_id),
party as (
    select j.id, j.state, j.project, j.priority, j.served_at, coalesce(b.lanes, 0) as lanes,
           sum(coalesce(b.lanes, 0)) over whole / coalesce(p.weight, 1) as share,
           max(j.served_at) over whole as project_served_at
      from job j left join busy b on b.job_id = j.id left join project p on p.name = j.project
     where j.finished_at is null and j.state in ('queued', 'running')
    window whole as (partition by j.project)),
"""

_ALL = """
line as materialized (
    select id, state from party
     order by share, project_served_at nulls first, priority, lanes, served_at nulls first, id),
"""
# Jobs that have nothing waiting are in it too: to walk past one costs less than to ask all.

_IDLE = """
ready as (
    select *, min(priority) over (partition by project) as first_priority from party
     where exists (select from shard q where q.job_id = party.id
                      and q.state = 'queued' and q.not_before <= now())),
line as materialized (
    select id, state from ready
     where priority = first_priority and lanes < :lanes
     order by share, project_served_at nulls first, lanes, served_at nulls first, id),
"""

_WALK = """
next as (
    select picked.id, line.id as job_id, line.state from line cross join lateral (
        select q.id from shard q
         where q.job_id = line.id and q.state = 'queued' and q.not_before <= now()
         order by q.id limit 1 for update skip locked) picked
     limit 1),
"""
# The order of `line` is that of the walk: a CTE is scanned as it was made, and the first shard
# that nobody else is taking ends it.

_TAKE = """
served as (
    update job set served_at = clock_timestamp() from next
     where job.id = next.job_id and job.state in ('queued', 'running') returning job.id)
update shard s
   set state = 'running', owner = :worker, epoch = s.epoch + 1, claims = s.claims + 1
  from next join served on served.id = next.job_id where s.id = next.id
returning s.id, s.job_id, s.epoch, s.endpoint, s.round, s.n_cells, s.kind,
          s.rows is not null as is_listed, next.state as job_state
"""
# `served` asks for the job's state once more, under its lock: a pause or a cancellation that was
# committed meanwhile takes nothing, and none can come between it and the claim.

_CLAIM_NAMED = text(_NAMED + _TAKE)
_CLAIM_FIRST = text(_PARTIES + _ALL + _WALK + _TAKE)
_CLAIM_IDLE = text(_PARTIES + _IDLE + _WALK + _TAKE)

_START = text("""
update job set state = 'running', started_at = coalesce(started_at, now())
 where id = :job and state = 'queued' returning id
""")


def claim(session: Session, shard_id: int, worker: UUID) -> Claim | None:
    """Take a queued shard; None means the hint was stale or a duplicate.

    The first claim of a job starts it.
    """
    return _taken(session, session.execute(_CLAIM_NAMED, {"shard": shard_id, "worker": worker}))


def claim_next(session: Session, worker: UUID, *, idle: bool = False) -> Claim | None:
    """Take the shard that is first in line; None when nothing waits.

    A worker that has finished one goes on with this, in the order of Postgres, and does not wait
    for the broker.

    Args:
        session: The transaction.
        worker: Who takes it.
        idle: Only of jobs of which workers hold less than a full shard's lanes now.
    """
    given = {"worker": worker, "lanes": MOST_LANES}
    return _taken(session, session.execute(_CLAIM_IDLE if idle else _CLAIM_FIRST, given))


def _taken(session: Session, found: Result[*tuple[Any, ...]]) -> Claim | None:
    row = found.one_or_none()
    if row is None:
        return None
    job_id = ids.encode(ids.JOB, row.job_id)
    if row.job_state == JobState.QUEUED:
        _start(session, row.job_id)
    reach(Point.IN_CLAIM)
    return Claim(
        shard_id=row.id,
        job_id=job_id,
        epoch=row.epoch,
        endpoint=row.endpoint,
        round=row.round,
        n_cells=row.n_cells,
        kind=ShardKind(row.kind),
        is_listed=row.is_listed,
    )


def _start(session: Session, job: UUID) -> None:
    if session.execute(_START, {"job": job}).one_or_none() is not None:
        state = {"state": JobState.RUNNING}
        session.add(JobEvent(job_id=ids.encode(ids.JOB, job), kind="state", data=state))
