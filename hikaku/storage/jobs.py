"""Jobs: stored whole, counted by their shards, moved from state to state, and closed once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.errors import Conflict, InvalidInput, NotFound
from hikaku.failpoints import Point, reach
from hikaku.jobs import FAILED_OUTCOMES, JobState, Outcome, ShardState, check_move
from hikaku.planning import MAX_SHARD_CELLS, PlannedShard
from hikaku.specs import Snapshot
from hikaku.storage import tracking
from hikaku.storage.tables import CellResult, Job, JobEvent, Shard, Worker

_COUNTED = [(outcome, getattr(Shard, f"n_{outcome.value}")) for outcome in Outcome]


@dataclass(slots=True, kw_only=True)
class EndpointProgress:
    """How far a job is on one of its endpoints."""

    counts: dict[Outcome, int]
    calls: int
    repeated_calls: int
    """Calls that were in flight when their worker died; their cells were asked again."""
    reused: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    cost_unknown_calls: int


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a job is; costs one read of its shards, however many cells they hold."""

    endpoints: dict[int, EndpointProgress] = field(default_factory=dict)

    def count(self, outcome: Outcome) -> int:
        """Count the cells of all endpoints that ended so."""
        return sum(endpoint.counts[outcome] for endpoint in self.endpoints.values())

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
    workers: tuple[tuple[str, int], ...]
    """Host and process id of the workers whose lease is good."""


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
    rows = [
        Shard(
            job_id=job_id,
            endpoint=shard.endpoint,
            row_from=shard.row_from,
            row_to=shard.row_to,
            repeat_from=shard.repeat_from,
            repeat_to=shard.repeat_to,
            n_cells=shard.n_cells,
            state=ShardState.QUEUED,
            priority=priority,
        )
        for shard in shards
    ]
    session.add_all(rows)
    _announce(session, job_id, JobState.QUEUED)
    session.flush()
    return [shard.id for shard in rows]


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
    session: Session, *, after: str | None = None, limit: int = 50, state: JobState | None = None
) -> list[Job]:
    """List jobs, newest first.

    Args:
        session: The transaction.
        after: The id of the last job already seen.
        limit: How many at most.
        state: Only those in this state.
    """
    statement = select(Job).order_by(Job.id.desc()).limit(limit)
    if after is not None:
        statement = statement.where(Job.id < after)
    if state is not None:
        statement = statement.where(Job.state == state)
    return list(session.scalars(statement))


def progress(session: Session, job_ids: Sequence[str]) -> dict[str, Progress]:
    """Sum the counters of the shards of each job; a job without shards is left out."""
    sums = [func.sum(column) for _, column in _COUNTED]
    extra = (
        Shard.n_calls,
        Shard.n_calls_unknown,
        Shard.n_reused,
        Shard.input_tokens,
        Shard.output_tokens,
        Shard.cost_usd,
        Shard.n_cost_unknown,
    )
    statement = (
        select(Shard.job_id, Shard.endpoint, *sums, *(func.sum(column) for column in extra))
        .where(Shard.job_id.in_(job_ids))
        .group_by(Shard.job_id, Shard.endpoint)
    )
    found: dict[str, Progress] = {}
    for job_id, endpoint, *numbers in session.execute(statement):
        counts = {outcome: int(n) for (outcome, _), n in zip(_COUNTED, numbers, strict=False)}
        calls, unknown, reused, tokens_in, tokens_out, cost, cost_unknown = numbers[len(_COUNTED) :]
        found.setdefault(job_id, Progress()).endpoints[endpoint] = EndpointProgress(
            counts=counts,
            calls=int(calls),
            repeated_calls=int(unknown),
            reused=int(reused),
            input_tokens=int(tokens_in),
            output_tokens=int(tokens_out),
            cost_usd=Decimal(cost),
            cost_unknown_calls=int(cost_unknown),
        )
    return found


def events(session: Session, job_id: str, *, after_seq: int = 0) -> list[JobEvent]:
    """List what happened to a job since an event, oldest first."""
    statement = (
        select(JobEvent)
        .where(JobEvent.job_id == job_id, JobEvent.seq > after_seq)
        .order_by(JobEvent.seq)
    )
    return list(session.scalars(statement))


def cancel(session: Session, job_id: str) -> Job:
    """Stop a job: shards nobody has claimed end here, the others when their calls in flight do.

    Raises:
        NotFound: There is no such job.
        Conflict: It has ended already.
    """
    job = get(session, job_id, lock=True)
    if job.state in {JobState.CANCELLING, JobState.CANCELLED}:
        return job
    check_move(JobState(job.state), JobState.CANCELLING)
    job.state = JobState.CANCELLING
    _announce(session, job_id, JobState.CANCELLING)
    session.flush()
    cancel_unclaimed(session)
    close_if_ended(session, job_id)
    return job


def cancel_unclaimed(session: Session) -> None:
    """End the queued shards of jobs that are being cancelled.

    A shard that somebody holds at this moment is passed over: a claim takes its shard before its
    job, so waiting for it here could wait for ever. The sweep comes by again.
    """
    unclaimed = (
        select(Shard.id)
        .join(Job, Job.id == Shard.job_id)
        .where(Shard.state == ShardState.QUEUED, Job.state == JobState.CANCELLING)
        .with_for_update(of=Shard, skip_locked=True)
    )
    session.execute(
        update(Shard)
        .where(Shard.id.in_(unclaimed))
        .values(state=ShardState.CANCELLED, finished_at=func.now(), published_at=None)
    )


def retry_failed(
    session: Session, job_id: str, outcomes: Sequence[Outcome] = ()
) -> tuple[Job, int]:
    """Put the failed cells of an ended job back to work; their old results stay until then.

    Args:
        session: The transaction.
        job_id: The job.
        outcomes: Only cells that ended so; every failed one if empty.

    Returns:
        The job and how many cells are asked again.

    Raises:
        InvalidInput: An outcome is not a failure.
        Conflict: The job has not ended, or no cell failed so.
    """
    wanted = list(outcomes) or sorted(FAILED_OUTCOMES)
    for outcome in wanted:
        if not outcome.is_failed:
            raise InvalidInput(f"cells that ended {outcome} have not failed and are not retried")
    job = get(session, job_id, lock=True)
    if not JobState(job.state).is_final:
        raise Conflict(f"job {job_id} is {job.state}; failed cells are retried when it has ended")
    failed = _failed_cells(session, job, wanted)
    if not failed:
        raise Conflict(f"no cell of job {job_id} ended {', '.join(wanted)}")
    job.round += 1
    job.state, job.finished_at = JobState.QUEUED, None
    for endpoint, cells in failed.items():
        for start in range(0, len(cells), MAX_SHARD_CELLS):
            session.add(_retry_shard(job, endpoint, cells[start : start + MAX_SHARD_CELLS]))
    _announce(session, job_id, JobState.QUEUED)
    session.flush()
    return job, sum(map(len, failed.values()))


def _failed_cells(
    session: Session, job: Job, outcomes: Sequence[Outcome]
) -> dict[int, list[tuple[int, int]]]:
    statement = (
        select(CellResult.endpoint, CellResult.row, CellResult.repeat)
        .where(
            CellResult.bucket == job.bucket,
            CellResult.job_id == job.id,
            CellResult.outcome.in_(outcomes),
        )
        .order_by(CellResult.endpoint, CellResult.row, CellResult.repeat)
    )
    cells: dict[int, list[tuple[int, int]]] = {}
    for endpoint, row, repeat in session.execute(statement):
        cells.setdefault(endpoint, []).append((row, repeat))
    return cells


def _retry_shard(job: Job, endpoint: int, cells: Sequence[tuple[int, int]]) -> Shard:
    return Shard(
        job_id=job.id,
        endpoint=endpoint,
        row_from=cells[0][0],
        row_to=cells[-1][0] + 1,
        repeat_to=1 + max(repeat for _, repeat in cells),
        rows=[row for row, _ in cells],
        repeats=[repeat for _, repeat in cells],
        round=job.round,
        n_cells=len(cells),
        state=ShardState.QUEUED,
        priority=job.priority,
    )


_UNFINISHED = text("""
select j.id from job j
 where j.finished_at is null and j.state in ('queued', 'running', 'cancelling')
   and not exists (select 1 from shard s
                    where s.job_id = j.id and s.state in ('queued', 'running'))
 limit 100
""")


def ended_but_open(session: Session) -> list[str]:
    """List jobs whose last shard ended without anybody closing them."""
    return [ids.encode(ids.JOB, job) for (job,) in session.execute(_UNFINISHED)]


def close_if_ended(session: Session, job_id: str) -> JobState | None:
    """Close a job whose shards have all ended, and put it in MLflow's outbox.

    Returns:
        The state it was closed in; None if it goes on, or somebody closed it before.
    """
    job = get(session, job_id, lock=True)
    if JobState(job.state).is_final or job.state == JobState.PAUSED:
        return None
    states = set(session.scalars(select(Shard.state).where(Shard.job_id == job_id).distinct()))
    if states & {ShardState.QUEUED, ShardState.RUNNING}:
        return None
    done = progress(session, [job_id]).get(job_id, Progress())
    is_whole = done.done >= job.n_cells
    job.state = _final_state(JobState(job.state), states, done, is_whole=is_whole)
    job.finished_at = session.scalar(select(func.clock_timestamp()))
    job.error = session.scalar(
        select(func.min(Shard.error)).where(Shard.job_id == job_id, Shard.state == ShardState.DEAD)
    )
    _announce(session, job_id, job.state)
    tracking.put(session, job_id)
    session.flush()
    reach(Point.IN_CLOSE)
    return job.state


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
    alive = select(Worker.host, Worker.pid).where(Worker.lease_until > func.now())
    return QueueDepth(
        queued_shards=counts.get(ShardState.QUEUED, 0),
        running_shards=counts.get(ShardState.RUNNING, 0),
        workers=tuple(
            (host, pid) for host, pid in session.execute(alive.order_by(Worker.started_at))
        ),
    )


def _announce(session: Session, job_id: str, state: JobState) -> None:
    session.add(JobEvent(job_id=job_id, kind="state", data={"state": state}))
