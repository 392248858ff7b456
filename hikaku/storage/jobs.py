"""Jobs: stored whole, counted by their shards, moved from state to state, and closed once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.errors import NotFound
from hikaku.failpoints import Point, reach
from hikaku.jobs import FAILED_OUTCOMES, JobState, Outcome, ShardKind, ShardState
from hikaku.planning import PlannedShard, cut
from hikaku.specs import Snapshot
from hikaku.storage import offloads, tracking
from hikaku.storage.tables import RECORDED, Job, JobEvent, Shard, Worker


@dataclass(slots=True, kw_only=True)
class EndpointProgress:
    """How far a job is on one of its endpoints."""

    counts: dict[Outcome, int]
    calls: int
    repeated_calls: int
    """Calls in flight when their worker died, or answered when another answer was recorded."""
    reused: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    cost_unknown_calls: int
    in_hand: int
    """Cells of claimed shards without an outcome: their calls are reserved, or being made."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a job is; costs one read of its shards, however many cells they hold."""

    endpoints: dict[int, EndpointProgress] = field(default_factory=dict)

    def count(self, outcome: Outcome) -> int:
        """Count the cells of all endpoints that ended so."""
        return sum(endpoint.counts[outcome] for endpoint in self.endpoints.values())

    @property
    def in_hand(self) -> int:
        """Cells that a worker has and that have no outcome yet."""
        return sum(endpoint.in_hand for endpoint in self.endpoints.values())

    @property
    def done(self) -> int:
        """Cells with an outcome."""
        return sum(sum(endpoint.counts.values()) for endpoint in self.endpoints.values())

    @property
    def failed(self) -> int:
        """Cells whose outcome is a failure."""
        return sum(self.count(outcome) for outcome in FAILED_OUTCOMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """What waits and what runs, over all jobs."""

    queued_shards: int
    running_shards: int
    workers: tuple[tuple[str, int, str | None], ...]
    """Host, process id and trouble of the workers whose lease is good."""


def add(
    session: Session,
    job_id: str,
    *,
    name: str,
    snapshot: Snapshot,
    bucket: int,
    priority: int,
    shards: Sequence[PlannedShard],
) -> list[int]:
    """Store a job with its shards; publish the returned shard ids after the commit."""
    job = Job(
        id=job_id,
        name=name,
        state=JobState.QUEUED,
        snapshot=snapshot.model_dump(mode="json"),
        revision_id=snapshot.dataset.id,
        bucket=bucket,
        project=snapshot.project,
        priority=priority,
        n_cells=sum(shard.n_cells for shard in shards),
    )
    session.add(job)
    session.flush()
    announce(session, job_id, JobState.QUEUED)
    return add_shards(session, job, shards)


_ADD_SHARDS = """
insert into shard (job_id, kind, priority, state,
                   endpoint, row_from, row_to, repeat_from, repeat_to, n_cells)
select %s, %s, %s, 'queued', endpoint, row_from, row_to, repeat_from, repeat_to, n_cells
  from unnest(%s::int[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[])
       with ordinality planned(endpoint, row_from, row_to, repeat_from, repeat_to, n_cells, nth)
 order by nth returning id
"""


def add_shards(
    session: Session, job: Job, planned: Sequence[PlannedShard], kind: ShardKind = ShardKind.ASK
) -> list[int]:
    """Store more shards of a job, however many, in one statement; gives their ids."""
    session.flush()
    columns = ("endpoint", "row_from", "row_to", "repeat_from", "repeat_to", "n_cells")
    values = [[getattr(shard, column) for shard in planned] for column in columns]
    added = session.connection().exec_driver_sql(
        _ADD_SHARDS, (ids.decode(ids.JOB, job.id), kind, job.priority, *values)
    )
    return sorted(shard_id for (shard_id,) in added)


def mark_published(session: Session, shard_ids: Sequence[int]) -> list[int]:
    """Note that the hints of these shards go out with this transaction."""
    session.execute(update(Shard).where(Shard.id.in_(shard_ids)).values(published_at=func.now()))
    return list(shard_ids)


def get(session: Session, job_id: str, *, lock: bool = False) -> Job:
    """Read one job.

    Raises:
        NotFound: There is none with this id.
    """
    try:
        job = session.get(Job, job_id, with_for_update=lock or None)
    except ValueError as error:
        raise NotFound(str(error)) from error
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    return job


def snapshot(job: Job) -> Snapshot:
    """Read what a job was submitted with."""
    return Snapshot.model_validate(job.snapshot)


def listing(
    asked: Connection,
    *,
    after: str | None = None,
    limit: int = 50,
    state: JobState | None = None,
    project: str | None = None,
) -> list[str]:
    """List the ids of jobs, newest first.

    Args:
        asked: Where to ask.
        after: The id of the last job already seen.
        limit: How many at most.
        state: Only those in this state.
        project: Only those of this project.
    """
    statement = select(Job.id).order_by(Job.id.desc()).limit(limit)
    if after is not None:
        statement = statement.where(Job.id < after)
    if state is not None:
        statement = statement.where(Job.state == state)
    if project is not None:
        statement = statement.where(Job.project == project)
    return list(asked.scalars(statement))


_COUNTERS = {
    "calls": "n_calls",
    "repeated_calls": "n_calls_unknown",
    "reused": "n_reused",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cost_usd": "cost_usd",
    "cost_unknown_calls": "n_cost_unknown",
}
_COUNTS = ", ".join(f"'{outcome}', sum(n_{outcome})" for outcome in Outcome)
_SUMS = ", ".join(f"'{name}', sum({column})" for name, column in _COUNTERS.items())

PART = f"""json_build_object('counts', json_build_object({_COUNTS}), {_SUMS},
    'in_hand', greatest(0, coalesce(sum(n_cells - ({RECORDED}))
                                    filter (where state = 'running'), 0)))"""
"""SQL: an `EndpointProgress` of the shards of a group, as JSON."""

_PROGRESS = f"""
select job_id, json_object_agg(endpoint, part)::text from (
    select job_id, endpoint, {PART} as part from shard
     where job_id = any(%s) group by job_id, endpoint) parts
 group by job_id
"""  # noqa: S608 - nothing of a request is in it

_parts = msgspec.json.Decoder(dict[int, EndpointProgress]).decode


def progress(session: Session, job_ids: Sequence[str]) -> dict[str, Progress]:
    """Sum the counters of the shards of each job; a job without shards is left out."""
    session.flush()
    wanted = {ids.decode(ids.JOB, job_id): job_id for job_id in job_ids}
    found = session.connection().exec_driver_sql(_PROGRESS, (list(wanted),))
    return {wanted[job]: Progress(endpoints=_parts(parts)) for job, parts in found}


def events(
    session: Session, job_id: str, *, after_seq: int = 0, limit: int | None = None
) -> list[JobEvent]:
    """List what happened to a job since an event, oldest first."""
    statement = (
        select(JobEvent)
        .where(JobEvent.job_id == job_id, JobEvent.seq > after_seq)
        .order_by(JobEvent.seq)
        .limit(limit)
    )
    return list(session.scalars(statement))


_JUDGED_AT_ONCE = 4_096
"""Cells of a shard that only judges what is recorded."""

_UNFINISHED = text("""
select j.id from job j
 where j.finished_at is null
   and not exists (select 1 from shard s
                    where s.job_id = j.id and s.state in ('queued', 'running'))
   and not (j.state = 'cancelling' and exists (
        select 1 from offload o
         where o.job_id = j.id and o.state in ('planned', 'handing_over', 'running')))
 limit 100
""")


def ended_but_open(session: Session) -> list[str]:
    """List jobs whose last shard ended without anybody closing them."""
    return [ids.encode(ids.JOB, job) for (job,) in session.execute(_UNFINISHED)]


def close_if_ended(session: Session, job_id: str) -> JobState | None:
    """Close a job whose shards have all ended, and put it in MLflow's outbox.

    One that is being cancelled waits for what is at a vendor: that may still answer, and bill.

    Returns:
        The state it was closed in; None if it goes on, or somebody closed it before.
    """
    job = get(session, job_id, lock=True)
    if JobState(job.state).is_final:
        return None
    states = set(session.scalars(select(Shard.state).where(Shard.job_id == job_id).distinct()))
    if states & {ShardState.QUEUED, ShardState.RUNNING}:
        return None
    if job.state == JobState.CANCELLING and offloads.is_open(session, job_id):
        return None
    done = progress(session, [job_id]).get(job_id, Progress())
    if job.state == JobState.PAUSED and done.count(Outcome.BUDGET_SKIPPED):
        return None  # paused by its budget: it goes on when that is raised and it is resumed
    if job.owes_scores and job.state != JobState.CANCELLING:
        _owe(session, job)
        return None
    is_whole = done.done >= job.n_cells
    job.state = _final_state(JobState(job.state), states, done, is_whole=is_whole)
    job.finished_at = session.scalar(select(func.clock_timestamp()))
    job.error = session.scalar(
        select(func.min(Shard.error)).where(Shard.job_id == job_id, Shard.state == ShardState.DEAD)
    )
    announce(session, job_id, job.state)
    tracking.put(session, job_id)
    session.flush()
    reach(Point.IN_CLOSE)
    return job.state


def _owe(session: Session, job: Job) -> None:
    """Have all that is recorded judged by the scorers it lacks, before the job ends.

    Planned when no other shard is left: nothing is recorded any more by a plan of before.
    """
    kept = snapshot(job)
    planned = [
        PlannedShard(
            endpoint=endpoint,
            row_from=row_from,
            row_to=row_to,
            repeat_from=0,
            repeat_to=kept.repeats,
        )
        for row_from, row_to in cut(kept.dataset.n_rows, max(1, _JUDGED_AT_ONCE // kept.repeats))
        for endpoint in range(len(kept.endpoints))
    ]
    job.owes_scores = False
    add_shards(session, job, planned, ShardKind.SCORE)


def _final_state(
    now: JobState, shards: set[ShardState], done: Progress, *, is_whole: bool
) -> JobState:
    if now is JobState.CANCELLING:
        return JobState.CANCELLED
    if ShardState.DEAD in shards and not is_whole:
        return JobState.FAILED
    if ShardState.CANCELLED in shards and not is_whole:
        return JobState.CANCELLED
    return JobState.COMPLETED_WITH_ERRORS if done.failed else JobState.COMPLETED


def queue_depth(session: Session) -> QueueDepth:
    """Count the shards that wait and run, and name the workers that are alive."""
    counts = dict(
        session.execute(
            select(Shard.state, func.count())
            .where(Shard.state.in_((ShardState.QUEUED, ShardState.RUNNING)))
            .group_by(Shard.state)
        ).all()
    )
    alive = select(Worker.host, Worker.pid, Worker.trouble).where(Worker.lease_until > func.now())
    return QueueDepth(
        queued_shards=counts.get(ShardState.QUEUED, 0),
        running_shards=counts.get(ShardState.RUNNING, 0),
        workers=tuple(
            (host, pid, trouble)
            for host, pid, trouble in session.execute(alive.order_by(Worker.started_at))
        ),
    )


def announce(session: Session, job_id: str, state: JobState) -> None:
    """Note that a job has come to a state."""
    note(session, job_id, "state", {"state": state})


def note(session: Session, job_id: str, kind: str, happened: dict[str, Any]) -> None:
    """Add an event to a job's history."""
    session.add(JobEvent(job_id=job_id, kind=kind, data=happened))
