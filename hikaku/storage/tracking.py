"""The outbox to MLflow: what is to be tracked, when it is tried again, and where it went."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from hikaku.storage.tables import Tracking

PENDING, SYNCED = "pending", "synced"

FIRST_WAIT = timedelta(seconds=2)
LONGEST_WAIT = timedelta(minutes=5)
"""Between two tries while MLflow is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """Where a job went in MLflow."""

    run_id: str
    url: str


def put(session: Session, job_id: str) -> None:
    """Ask for a job to be tracked (again, if it was retried)."""
    again = {"state": PENDING, "tries": 0, "next_try_at": func.now(), "error": None}
    statement = insert(Tracking).values(job_id=job_id, state=PENDING)
    session.execute(statement.on_conflict_do_update(index_elements=[Tracking.job_id], set_=again))


def get(session: Session, job_id: str) -> Tracking | None:
    """Read how far the tracking of a job is; None before the job has ended."""
    return session.get(Tracking, job_id)


def due(session: Session, *, limit: int = 20) -> list[str]:
    """List jobs whose next try is due, and push that try back, so that one process takes each."""
    ready = (
        select(Tracking.job_id)
        .where(Tracking.state == PENDING, Tracking.next_try_at <= func.now())
        .order_by(Tracking.next_try_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    wait = func.least(LONGEST_WAIT, FIRST_WAIT * func.power(2, func.least(Tracking.tries, 10)))
    statement = (
        update(Tracking)
        .where(Tracking.job_id.in_(ready))
        .values(tries=Tracking.tries + 1, next_try_at=func.now() + wait)
        .returning(Tracking.job_id)
    )
    return list(session.scalars(statement))


def done(session: Session, job_id: str, tracked: Tracked, *, tries: int) -> None:
    """Note where a job went, unless it was asked for again meanwhile."""
    session.execute(
        update(Tracking)
        .where(Tracking.job_id == job_id, Tracking.tries >= tries)
        .values(
            state=SYNCED, run_id=tracked.run_id, url=tracked.url, error=None, synced_at=func.now()
        )
    )


def failed(session: Session, job_id: str, error: str) -> None:
    """Note why a try did not succeed; the next one is due already."""
    session.execute(update(Tracking).where(Tracking.job_id == job_id).values(error=error[:2000]))
