"""What jobs were estimated to need, kept until the same job is submitted."""

from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from hikaku.estimation import key_of
from hikaku.specs import Snapshot
from hikaku.storage.tables import Job, JobEstimate


def keep(session: Session, snapshot: Snapshot, pilot_job_id: str, body: dict[str, Any]) -> None:
    """Keep the newest estimate of what a snapshot asks."""
    values = {"pilot_job_id": pilot_job_id, "body": body}
    statement = insert(JobEstimate).values(key=key_of(snapshot), **values)
    session.execute(statement.on_conflict_do_update(index_elements=[JobEstimate.key], set_=values))


def attach(session: Session, job_id: str, snapshot: Snapshot) -> None:
    """Give a job the estimate that was made of it, if there is one."""
    found = session.get(JobEstimate, key_of(snapshot))
    if found is not None:
        session.get_one(Job, job_id).estimate = found.body
        session.flush()
