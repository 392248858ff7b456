"""Shards and the workers that hold them: lease, work, complete, reap, publish.

A claim (`hikaku.storage.claims`) raises the shard's epoch, and only the claimant of the present
epoch may complete it.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import case, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.jobs import Hint, JobState, ShardState
from hikaku.storage import summaries
from hikaku.storage.claims import Claim
from hikaku.storage.connection import driver
from hikaku.storage.tables import RECORDED, Job, Shard, Worker
from hikaku.storage.work import left_to_do

MAX_CLAIMS = 20
"""A shard claimed this often without finishing is dead: something in it kills its workers."""

GIVE_UP_WAIT = timedelta(seconds=1)
"""How long a given-up shard rests, for each time it was claimed."""

RUNNABLE = (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A shard a worker holds, as the database sees it."""

    shard_id: int
    epoch: int
    job_state: JobState


def join(
    session: Session,
    worker: UUID,
    *,
    host: str,
    pid: int,
    lease: timedelta,
    trouble: str | None = None,
) -> None:
    """Enter a worker process, or renew its lease; with what keeps it from asking, if anything."""
    renewed = {"lease_until": func.now() + lease, "trouble": trouble}
    statement = insert(Worker).values(id=worker, host=host, pid=pid, **renewed)
    session.execute(statement.on_conflict_do_update(index_elements=[Worker.id], set_=renewed))


def leave(session: Session, worker: UUID) -> None:
    """End a worker's lease; what it still holds is reaped at once."""
    session.execute(update(Worker).where(Worker.id == worker).values(lease_until=func.now()))


def held(session: Session, worker: UUID) -> list[Held]:
    """List what a worker holds; a shard it thought it held and that is not here was taken away."""
    statement = (
        select(Shard.id, Shard.epoch, Job.state)
        .join(Job, Job.id == Shard.job_id)
        .where(Shard.owner == worker, Shard.state == ShardState.RUNNING)
    )
    return [
        Held(shard_id=shard_id, epoch=epoch, job_state=JobState(state))
        for shard_id, epoch, state in session.execute(statement)
    ]


_END = """
update shard set state = 'done', owner = null, published_at = null, finished_at = now()
 where id = %s and epoch = %s and owner = %s and state = 'running' and ({})
returning id
"""
_COMPLETE = _END.format(f"rows is not null or kind = 'score' or n_cells <= {RECORDED}")
_COMPLETE_ANYWAY = _END.format("true")


def complete(session: Session, claimed: Claim, worker: UUID) -> bool:
    """Close a shard whose every cell is recorded; False if it is no longer the claimant's.

    The counters stand in for the rows they count, so "done" cannot be said of a shard that
    lacks a result. A retry's cells may have landed under another shard, and a result that a retry
    replaced counts there: where the counters do not say it, the rows are looked at.
    """
    if claimed.is_listed and left_to_do(session, claimed.shard_id):
        return False
    connection, ours = driver(session), (claimed.shard_id, claimed.epoch, worker)
    if connection.execute(_COMPLETE, ours).fetchone() is None:
        if left_to_do(session, claimed.shard_id):
            return False
        if connection.execute(_COMPLETE_ANYWAY, ours).fetchone() is None:
            return False
    summaries.ended(session, claimed.shard_id)
    return True


MANY = 64
"""Shards that wait: as many cannot end at once, so none of them is the last."""


def are_many_left(session: Session, job_id: str) -> bool:
    """Tell, without a lock, whether a job is far from its end."""
    found = driver(session).execute(
        "select from shard where job_id = %s and state = 'queued' offset %s limit 1",
        (ids.decode(ids.JOB, job_id), MANY),
    )
    return found.fetchone() is not None


def cancel(session: Session, claimed: Claim, worker: UUID) -> bool:
    """Close a shard of a cancelled job, with whatever it has recorded."""
    return _release(session, claimed, worker, state=ShardState.CANCELLED, finished=True)


def hand_back(session: Session, claimed: Claim, worker: UUID) -> bool:
    """Return a shard unfinished (drain); it is published again at the next sweep."""
    return _release(session, claimed, worker, state=ShardState.QUEUED, finished=False)


def disown(session: Session, shard_id: int, epoch: int, worker: UUID) -> None:
    """Return a shard that a worker holds without knowing it."""
    session.execute(
        update(Shard)
        .where(
            Shard.id == shard_id,
            Shard.epoch == epoch,
            Shard.owner == worker,
            Shard.state == ShardState.RUNNING,
        )
        .values(state=ShardState.QUEUED, owner=None, published_at=None)
    )


def give_up(session: Session, claimed: Claim, worker: UUID, reason: str) -> None:
    """Return a shard that raised something unforeseen; after `MAX_CLAIMS` of those it is dead."""
    dead = Shard.claims >= MAX_CLAIMS
    wait = GIVE_UP_WAIT.total_seconds() * Shard.claims
    session.execute(
        update(Shard)
        .where(Shard.id == claimed.shard_id, Shard.epoch == claimed.epoch, Shard.owner == worker)
        .values(
            state=case((dead, ShardState.DEAD), else_=ShardState.QUEUED),
            owner=None,
            published_at=None,
            not_before=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, wait),
            error=reason[:2000],
        )
    )


def _release(
    session: Session,
    claimed: Claim,
    worker: UUID,
    *,
    state: ShardState,
    finished: bool,
) -> bool:
    statement = (
        update(Shard)
        .where(
            Shard.id == claimed.shard_id,
            Shard.epoch == claimed.epoch,
            Shard.owner == worker,
            Shard.state == ShardState.RUNNING,
        )
        .values(
            state=state,
            owner=None,
            published_at=None,
            claims=Shard.claims if finished else Shard.claims - 1,
            finished_at=func.now() if finished else None,
        )
    )
    return session.execute(statement.returning(Shard.id)).one_or_none() is not None


_TAKE_BACK = """
update shard s
   set state = case when s.claims >= :max_claims then 'dead' else 'queued' end,
       error = case when s.claims >= :max_claims
                    then 'claimed ' || s.claims || ' times and never finished' end,
       owner = null, published_at = null
  from lost where s.id = lost.id returning s.id
"""

_REAP = text(f"""
with lost as (
    select s.id from shard s left join worker w on w.id = s.owner
     where s.state = 'running' and (w.id is null or w.lease_until < now())
       and pg_postmaster_start_time() < now() - cast(:grace as interval)
     order by s.id limit 500 for update of s skip locked)
{_TAKE_BACK}""")  # noqa: S608 - nothing of a request is in it

_RELEASE = text(f"""
with lost as (
    select id from shard where state = 'running' and owner = :worker
     order by id limit 500 for update skip locked)
{_TAKE_BACK}""")  # noqa: S608 - nothing of a request is in it


def reap(session: Session, *, grace: timedelta) -> list[int]:
    """Take back the shards of workers whose lease has ended.

    Args:
        session: The transaction.
        grace: How long after a start of Postgres nothing is reaped: its workers could not renew
            while it was away, and they still hold what they were doing.
    """
    rows = session.execute(_REAP, {"grace": grace, "max_claims": MAX_CLAIMS})
    return [shard_id for (shard_id,) in rows]


def session_name(worker: UUID) -> str:
    """Name the database connections of a worker, by which they are known to be its own."""
    return f"hikaku {worker}"


_CUT_OFF = text("""
select w.id, pg_terminate_backend(a.pid)
  from worker w join pg_stat_activity a on a.application_name = 'hikaku ' || w.id
 where a.usename = current_user and w.lease_until < now() and a.xact_start < w.lease_until
""")


def cut_off(session: Session) -> list[UUID]:
    """End the transactions that workers left open when their lease ended; gives these workers.

    Who is frozen in one would keep its locks, and whoever waits for them, until it wakes.
    """
    return sorted({worker for worker, _ in session.execute(_CUT_OFF)})


def release_dead(session: Session, worker: UUID) -> list[int]:
    """Take back the shards of a worker that is known to be dead, whatever its lease says.

    Only its own machine can know that, and has adopted its spool: all its answers are recorded.
    """
    rows = session.execute(_RELEASE, {"worker": worker, "max_claims": MAX_CLAIMS})
    return [shard_id for (shard_id,) in rows]


def forget_workers(session: Session) -> None:
    """Remove workers whose lease ended a day ago and who hold nothing any more."""
    session.execute(
        text(
            "delete from worker w where lease_until < now() - interval '1 day' and not exists"
            " (select 1 from shard s where s.owner = w.id and s.state = 'running')"
        )
    )


def waiting(session: Session, *, older_than: timedelta) -> int:
    """Count queued shards whose hint was published a while ago and that nobody has claimed."""
    statement = select(func.count()).where(
        Shard.state == ShardState.QUEUED, Shard.published_at < func.now() - older_than
    )
    return session.scalar(statement) or 0


def to_publish(session: Session, *, window: int, again: bool) -> list[Hint]:
    """Mark the next queued shards as published and return them; publish after the commit.

    Args:
        session: The transaction.
        window: How many hints may wait on the broker at once; the rest stay in Postgres, where a
            later job of higher priority overtakes them.
        again: Publish also what was published before: the broker has lost it.
    """
    published = select(func.count()).where(
        Shard.state == ShardState.QUEUED, Shard.published_at.is_not(None)
    )
    room = window if again else max(0, window - (session.scalar(published) or 0))
    due = (
        select(Shard.id)
        .join(Job, Job.id == Shard.job_id)
        .where(
            Shard.state == ShardState.QUEUED,
            Shard.not_before <= func.now(),
            Job.state.in_(RUNNABLE),
            or_(Shard.published_at.is_(None), text("true") if again else text("false")),
        )
        .order_by(Job.priority, Job.served_at.nulls_first(), Shard.id)
        .limit(room)
        .with_for_update(of=Shard, skip_locked=True)
    )
    statement = (
        update(Shard)
        .where(Shard.id.in_(due))
        .values(published_at=func.now())
        .returning(Shard.id, Shard.priority)
    )
    return [Hint(shard_id=s, priority=p) for s, p in sorted(session.execute(statement))]
