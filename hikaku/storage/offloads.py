"""Offloads: which shards of a job a vendor runs as a batch, and how far that is.

A shard that is handed over waits in the queue until `not_before`: released when its batch has
ended, and by the clock at the latest. Then a worker takes it as any other, asks what has no
result, and closes it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import case, func, select, text, tuple_, update
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.errors import Fault, InvalidInput
from hikaku.jobs import JobState, ShardState
from hikaku.specs import Execution, Snapshot
from hikaku.storage import summaries
from hikaku.storage.tables import (
    RECORDED,
    Budget,
    BudgetKind,
    Job,
    JobEvent,
    Offload,
    Shard,
)

DEFAULT_LIFETIME = timedelta(hours=26)
"""Vendors give themselves 24 hours; then there is time for the rest."""
WORTH_IT = timedelta(hours=1)
"""With less time, `auto` asks online."""
LONGEST_RESERVE = timedelta(hours=1)
_RESERVE = 4
"""The last quarter of the time, or hour, is for asking online."""
_CELLS_AT_ONCE = 50_000
_TOLD_AGAIN = timedelta(seconds=15)

OPEN = ("planned", "handing_over", "running")


def plan(
    session: Session, job_id: str, snapshot: Snapshot, deadline: datetime | None
) -> frozenset[int]:
    """Set the shards aside that are to be handed over; gives their ids.

    Raises:
        InvalidInput: The deadline is over, or the job insists on batches and a budget holds it.
    """
    left = DEFAULT_LIFETIME if deadline is None else time_until(session, deadline)
    if not _may_be_handed_over(snapshot):
        return frozenset()
    if _is_bounded(session, job_id, snapshot):
        if snapshot.execution is Execution.BATCH:
            raise held_by_budget()
        return frozenset()
    if snapshot.execution is Execution.AUTO and left <= WORTH_IT:
        return frozenset()
    return frozenset(_plan_all(session, job_id, snapshot, left))


def plan_more(
    session: Session, job_id: str, snapshot: Snapshot, shards: Sequence[int]
) -> dict[int, int]:
    """Set shards aside that were added to a job; gives how many cells each of these has.

    They have a lifetime of their own. Where a budget holds by now, all of them are asked online.
    """
    if not _may_be_handed_over(snapshot) or _is_bounded(session, job_id, snapshot):
        return {}
    return _plan_all(session, job_id, snapshot, DEFAULT_LIFETIME, among=shards)


def held_by_budget() -> InvalidInput:
    """Refuse to hand over what a budget has to hold call by call."""
    return _refused("/execution", "a budget holds online calls only: use execution auto or online")


def time_until(session: Session, deadline: datetime) -> timedelta:
    """Tell how long it is until a deadline, by the database's clock.

    Raises:
        InvalidInput: It is over.
    """
    left = deadline - clock(session)
    if left <= timedelta(0):
        raise _refused("/deadline", "is over: leave it out, or give a time that is to come")
    return left


def _refused(pointer: str, message: str) -> InvalidInput:
    return InvalidInput(
        f"{pointer.lstrip('/')}: {message}", faults=[Fault(pointer=pointer, message=message)]
    )


def _may_be_handed_over(snapshot: Snapshot) -> bool:
    return snapshot.execution is not Execution.ONLINE and snapshot.prompt.request is None


def _plan_all(
    session: Session,
    job_id: str,
    snapshot: Snapshot,
    left: timedelta,
    *,
    among: Sequence[int] | None = None,
) -> dict[int, int]:
    until = clock(session) + left - min(left / _RESERVE, LONGEST_RESERVE)
    aside: dict[int, int] = {}
    for position, endpoint in enumerate(snapshot.endpoints):
        if endpoint.batch_price_factor is not None:
            aside |= _set_aside(session, job_id, position, until, among=among)
    return aside


def _is_bounded(session: Session, job_id: str, snapshot: Snapshot) -> bool:
    """Whether a budget holds: it is kept call by call, and a vendor's batch is one step."""
    owners = [(BudgetKind.JOB.value, job_id), (BudgetKind.PROJECT.value, snapshot.project)]
    found = select(Budget.owner).where(tuple_(Budget.kind, Budget.owner).in_(owners)).limit(1)
    return session.scalar(found) is not None


def _set_aside(
    session: Session,
    job_id: str,
    endpoint: int,
    until: datetime,
    *,
    among: Sequence[int] | None = None,
) -> dict[int, int]:
    statement = (
        update(Shard)
        .where(Shard.job_id == job_id, Shard.endpoint == endpoint)
        .values(not_before=until, published_at=None)
        .returning(Shard.id, Shard.n_cells)
    )
    if among is not None:
        statement = statement.where(Shard.id.in_(among))
    aside: dict[int, int] = dict(session.execute(statement).all())
    groups: list[list[int]] = [[]]
    cells = 0
    for shard_id, n_cells in sorted(aside.items()):
        if groups[-1] and cells + n_cells > _CELLS_AT_ONCE:
            groups.append([])
            cells = 0
        groups[-1].append(shard_id)
        cells += n_cells
    for group in filter(None, groups):
        add(session, job_id, endpoint, group, until)
    return aside


def add(
    session: Session, job_id: str, endpoint: int, shards: Sequence[int], deadline: datetime
) -> None:
    """Plan one batch."""
    session.add(
        Offload(
            id=ids.new_id(ids.OFFLOAD),
            job_id=job_id,
            endpoint=endpoint,
            shards=list(shards),
            deadline=deadline,
        )
    )
    session.flush()


def clock(session: Session) -> datetime:
    """Read the clock that deadlines run by: the database's, which is one for all machines."""
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now


def get(session: Session, offload_id: str) -> Offload:
    """Read one."""
    return session.get_one(Offload, offload_id)


def due(session: Session, *, limit: int = 20) -> list[str]:
    """List offloads whose next step is due, and push that back, so that it is told once."""
    ready = (
        select(Offload.id)
        .where(Offload.state.in_(OPEN), Offload.next_step_at <= func.now())
        .order_by(Offload.next_step_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(Offload)
        .where(Offload.id.in_(ready))
        .values(next_step_at=func.now() + _TOLD_AGAIN)
        .returning(Offload.id)
    )
    return list(session.scalars(statement))


def hand_over(session: Session, offload_id: str, kept: Sequence[int], n_requests: int) -> datetime:
    """Note that the vendor is about to be asked; shards that do not fit get another batch."""
    offload = get(session, offload_id)
    rest = [shard_id for shard_id in offload.shards if shard_id not in set(kept)]
    if rest:
        add(session, offload.job_id, offload.endpoint, rest, offload.deadline)
    now = clock(session)
    offload.shards, offload.n_requests = list(kept), n_requests
    offload.state, offload.handed_over_at = "handing_over", now
    session.flush()
    return now


def start(session: Session, job_id: str) -> None:
    """Note that a job has begun: somebody works on it, if elsewhere."""
    started = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state == JobState.QUEUED)
        .values(state=JobState.RUNNING, started_at=func.coalesce(Job.started_at, func.now()))
        .returning(Job.id)
    ).one_or_none()
    if started is not None:
        session.add(JobEvent(job_id=job_id, kind="state", data={"state": JobState.RUNNING}))


def taken(session: Session, offload_id: str, vendor_id: str, *, look_in: timedelta) -> None:
    """Note the vendor's id."""
    offload = get(session, offload_id)
    offload.state, offload.vendor_id, offload.error = "running", vendor_id, None
    session.flush()
    wait(session, offload_id, look_in)


def mistaken(session: Session, offload_id: str) -> None:
    """Note that the batch at the vendor is somebody else's."""
    offload = get(session, offload_id)
    offload.not_ours = [*offload.not_ours, offload.vendor_id or ""]
    offload.state, offload.vendor_id = "handing_over", None
    session.flush()
    wait(session, offload_id, timedelta(0))


def others(session: Session, offload: Offload) -> frozenset[str]:
    """List the ids at vendors that are known to be something else."""
    known = session.scalars(select(Offload.vendor_id).where(Offload.vendor_id.is_not(None)))
    return frozenset(vendor_id for vendor_id in known if vendor_id) | frozenset(offload.not_ours)


def wait(session: Session, offload_id: str, delay: timedelta, error: str | None = None) -> None:
    """Say when the next step is due; of failures in a row, later and later."""
    slower = func.least(func.power(2, Offload.n_steps), 20)
    session.execute(
        update(Offload)
        .where(Offload.id == offload_id)
        .values(
            next_step_at=func.least(
                func.now() + delay * (slower if error is not None else 1),
                case((Offload.deadline > func.now(), Offload.deadline), else_=func.now() + delay),
            ),
            n_steps=0 if error is None else Offload.n_steps + 1,
            error=None if error is None else error[:2000],
        )
    )


def is_open(session: Session, job_id: str) -> bool:
    """Tell whether something of a job is at a vendor, or may be, so that results may still come."""
    found = select(Offload.id).where(Offload.job_id == job_id, Offload.state.in_(OPEN)).limit(1)
    return session.scalar(found) is not None


def hurry(session: Session, job_id: str) -> None:
    """Have the next step of a job's offloads done at once; one that is being written is told."""
    waiting = (
        select(Offload.id)
        .where(Offload.job_id == job_id, Offload.state.in_(OPEN))
        .with_for_update(skip_locked=True)
    )
    session.execute(update(Offload).where(Offload.id.in_(waiting)).values(next_step_at=func.now()))


def close(session: Session, offload: Offload, state: str, error: str | None = None) -> None:
    """End an offload; what has no result is asked online, from now on.

    Shards without anything left end here: nobody claims one of a paused job.
    """
    session.execute(
        update(Offload)
        .where(Offload.id == offload.id)
        .values(state=state, error=error and error[:2000], ended_at=func.now())
    )
    whole = session.scalars(
        update(Shard)
        .where(
            Shard.id.in_(offload.shards),
            Shard.state == ShardState.QUEUED,
            Shard.rows.is_(None),
            text(f"n_cells <= {RECORDED}"),
        )
        .values(state=ShardState.DONE, published_at=None, finished_at=func.now())
        .returning(Shard.id)
    ).all()
    summaries.keep(session, whole)
    session.execute(
        update(Shard)
        .where(Shard.id.in_(offload.shards), Shard.state == ShardState.QUEUED)
        .values(not_before=func.now(), published_at=None)
    )
