"""Batches: their states, and which of them somebody has to go on with."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, text, update
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.batches import BatchState, LineFault
from hikaku.errors import Conflict, NotFound
from hikaku.jobs import JobState
from hikaku.specs import RequestPath
from hikaku.storage import control, jobs
from hikaku.storage.tables import Batch, Job

HINTED_AGAIN = timedelta(seconds=4)
"""After this long a worker is told again; two that go on with one batch do no harm."""

MAX_FAULTS = 5
"""Unforeseen ends after which a batch is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What came of a batch."""

    output_file_id: str | None
    error_file_id: str | None
    n_completed: int
    n_failed: int
    n_missing: int
    """Of those that failed: never asked, or never answered."""
    usage: dict[str, Any]


def add(
    session: Session,
    *,
    path: RequestPath,
    input_file_id: str,
    lifetime: timedelta,
    window: str = "24h",
    tags: dict[str, str] | None = None,
    output_lifetime: int | None = None,
) -> Batch:
    """Store a batch whose file is still to be read.

    Args:
        session: The transaction.
        path: Where all its requests go.
        input_file_id: The file they are in.
        lifetime: How long it may take.
        window: The same, as it was asked for.
        tags: Its metadata.
        output_lifetime: Seconds that its files are kept.
    """
    batch = Batch(
        id=ids.new_id(ids.BATCH),
        state=BatchState.VALIDATING,
        path=path,
        window=window,
        tags=tags,
        input_file_id=input_file_id,
        output_lifetime=output_lifetime,
        expires_at=func.now() + lifetime,
    )
    session.add(batch)
    session.flush()
    session.refresh(batch)
    return batch


def get(session: Session, batch_id: str, *, lock: bool = False) -> Batch:
    """Read one batch.

    Raises:
        NotFound: There is none with this id.
    """
    try:
        ids.decode(ids.BATCH, batch_id)
    except ValueError as error:
        raise NotFound(f"there is no batch {batch_id!r}") from error
    batch = session.get(Batch, batch_id, with_for_update=lock or None)
    if batch is None:
        raise NotFound(f"there is no batch {batch_id}")
    return batch


def listing(session: Session, *, after: str | None = None, limit: int) -> Sequence[Batch]:
    """Give batches, newest first, from the one after `after`."""
    statement = select(Batch).order_by(Batch.id.desc()).limit(limit)
    if after is not None:
        statement = statement.where(Batch.id < after)
    return session.scalars(statement).all()


def cancel(session: Session, batch_id: str) -> Batch:
    """Start no new call of a batch; what is in flight finishes.

    Raises:
        NotFound: There is no such batch.
        Conflict: It has ended, or its files are being written.
    """
    batch = get(session, batch_id, lock=True)
    match BatchState(batch.state):
        case BatchState.CANCELLING | BatchState.CANCELLED:
            return batch
        case BatchState.VALIDATING | BatchState.IN_PROGRESS:
            batch.state = BatchState.CANCELLING
            batch.cancelling_at = session.scalar(select(func.clock_timestamp()))
            batch.hinted_at = None
        case state:
            raise Conflict(f"Cannot cancel a batch with status '{state}'.")
    session.flush()
    _stop_job(session, batch)
    return batch


def due(session: Session, *, limit: int = 20) -> list[str]:
    """List batches that somebody has to go on with, and note that they were told."""
    rested = or_(Batch.hinted_at.is_(None), Batch.hinted_at < func.now() - HINTED_AGAIN)
    waits_for_nobody = or_(Batch.job_id.is_(None), _job_has_ended())
    ready = (
        select(Batch.id)
        .where(Batch.ended_at.is_(None), rested)
        .where(
            or_(
                and_(Batch.state == BatchState.IN_PROGRESS, Batch.expires_at <= func.now()),
                waits_for_nobody,
            )
        )
        .order_by(Batch.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(Batch).where(Batch.id.in_(ready)).values(hinted_at=func.now()).returning(Batch.id)
    )
    return list(session.scalars(statement))


def claim(session: Session, batch_id: str) -> bool:
    """Be the only one who goes on with a batch, for as long as this transaction lasts."""
    statement = text("select pg_try_advisory_xact_lock(hashtextextended(:id, 0))")
    return bool(session.scalar(statement, {"id": batch_id}))


def run(session: Session, batch_id: str, *, job_id: str, model: str, n_total: int) -> bool:
    """Note the job of a batch; False if it was cancelled meanwhile, and the job must not be."""
    return _move(
        session, batch_id, BatchState.VALIDATING, BatchState.IN_PROGRESS,
        job_id=job_id, model=model, n_total=n_total, in_progress_at=func.clock_timestamp(),
        hinted_at=None,
    )  # fmt: skip


def refuse(session: Session, batch_id: str, faults: Sequence[LineFault]) -> None:
    """End a batch whose file holds something else than its requests."""
    _move(
        session, batch_id, BatchState.VALIDATING, BatchState.FAILED,
        errors=[fault.document() for fault in faults], ended_at=func.clock_timestamp(),
    )  # fmt: skip


def finalize(session: Session, batch_id: str) -> None:
    """Go on to writing: the requests of a batch have ended, or its time has, and they are ending.

    A cancelled one stays what it is until its files are there.
    """
    batch = get(session, batch_id, lock=True)
    if batch.state != BatchState.IN_PROGRESS:
        return
    now = session.scalar(select(func.clock_timestamp()))
    batch.state, batch.finalizing_at, batch.hinted_at = BatchState.FINALIZING, now, None
    session.flush()
    if _stop_job(session, batch):
        batch.expiring_at = now
        session.flush()


def end(session: Session, batch: Batch, written: Written) -> None:
    """Close a batch whose files are written."""
    batch.state = _final_state(session, batch, written)
    batch.output_file_id, batch.error_file_id = written.output_file_id, written.error_file_id
    batch.n_completed, batch.n_failed = written.n_completed, written.n_failed
    batch.usage = written.usage
    batch.ended_at = session.scalar(select(func.clock_timestamp()))
    session.flush()


def _final_state(session: Session, batch: Batch, written: Written) -> BatchState:
    if batch.cancelling_at is not None:
        return BatchState.CANCELLED
    if not written.n_missing:
        return BatchState.COMPLETED
    if batch.expiring_at is not None:
        return BatchState.EXPIRED
    if batch.job_id is not None and jobs.get(session, batch.job_id).state == JobState.CANCELLED:
        batch.cancelling_at = batch.finalizing_at  # by whoever cancelled the job itself
        return BatchState.CANCELLED
    return BatchState.COMPLETED


def stumble(session: Session, batch_id: str, reason: str) -> None:
    """Note an unforeseen end of going on; after too many the batch has failed."""
    batch = get(session, batch_id, lock=True)
    if BatchState(batch.state).is_final:
        return
    batch.n_faults += 1
    if batch.n_faults >= MAX_FAULTS:
        fault = LineFault(code="server_error", message=reason[:2000])
        batch.state, batch.errors = BatchState.FAILED, [fault.document()]
        batch.ended_at = session.scalar(select(func.clock_timestamp()))
    session.flush()


def _stop_job(session: Session, batch: Batch) -> bool:
    """Cancel the job of a batch; False if there is nothing to cancel any more."""
    if batch.job_id is None or jobs.get(session, batch.job_id, lock=True).finished_at is not None:
        return False
    control.cancel(session, batch.job_id)
    return True


def _job_has_ended() -> ColumnElement[bool]:
    ended = select(Job.id).where(Job.id == Batch.job_id, Job.finished_at.is_not(None))
    return ended.exists()


def _move(
    session: Session, batch_id: str, now: BatchState, then: BatchState, **changes: object
) -> bool:
    statement = (
        update(Batch)
        .where(Batch.id == batch_id, Batch.state == now)
        .values(state=then, **changes)
        .returning(Batch.id)
    )
    return session.execute(statement).one_or_none() is not None
