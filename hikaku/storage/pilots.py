"""What a pilot needs of the tables: the lengths of rows, a job of some rows alone, what came."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hikaku.jobs import Hint, Outcome, ShardState
from hikaku.specs import Snapshot
from hikaku.storage import control, jobs
from hikaku.storage.tables import CellResult, DatasetRow, Job, JobEvent, Shard

KIND = "pilot"
"""The event that makes a job a pilot, and says of what."""

STOPPED = "pilot_stopped"
"""The event of a pilot that nothing pays for any more; it says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What one row needed on one endpoint."""

    outcome: Outcome
    calls: int
    input_tokens: int | None
    output_tokens: int | None
    latency_ms: float | None
    cost_usd: Decimal | None
    reused: bool


def lengths(
    session: Session, job: Snapshot, bucket: int, rows: Sequence[int] | None
) -> list[tuple[int, int]]:
    """Measure (bytes of what the template takes from it, row); of all rows if none are named."""
    taken = sum(
        (
            func.coalesce(func.octet_length(DatasetRow.data[name].as_string()), 0)
            for name in job.prompt.variables
        ),
        start=func.coalesce(0, 0),
    )
    statement = select(taken, DatasetRow.row).where(
        DatasetRow.bucket == bucket, DatasetRow.revision_id == job.dataset.id
    )
    if rows is not None:
        statement = statement.where(DatasetRow.row.in_(rows))
    return [(length, row) for length, row in session.execute(statement)]


def add_shards(session: Session, job_id: str, rows: Sequence[int]) -> tuple[Hint, ...]:
    """Give a job one shard for each endpoint, of these rows alone."""
    job = session.get_one(Job, job_id)
    made = [
        Shard(
            job_id=job_id,
            endpoint=endpoint,
            row_from=min(rows),
            row_to=max(rows) + 1,
            repeat_to=1,
            rows=list(rows),
            repeats=[0] * len(rows),
            n_cells=len(rows),
            state=ShardState.QUEUED,
            priority=job.priority,
        )
        for endpoint in range(len(jobs.snapshot(job).endpoints))
    ]
    session.add_all(made)
    job.n_cells = sum(shard.n_cells for shard in made)
    session.flush()
    published = jobs.mark_published(session, [shard.id for shard in made])
    return tuple(Hint(shard_id=shard_id, priority=job.priority) for shard_id in published)


def plan_of(session: Session, job_id: str) -> dict[str, Any] | None:
    """Read what a pilot was made for; None of a job that is no pilot."""
    return session.scalar(
        select(JobEvent.data).where(JobEvent.job_id == job_id, JobEvent.kind == KIND)
    )


def stop(session: Session, job: Job, reason: str) -> None:
    """End a pilot that nothing pays for any more: who made it may not come back."""
    jobs.note(session, job.id, STOPPED, {"reason": reason})
    control.cancel(session, job.id)


def stopped(session: Session, job_id: str) -> str | None:
    """Read why a pilot was ended early; None of one that was not."""
    data = session.scalar(
        select(JobEvent.data).where(JobEvent.job_id == job_id, JobEvent.kind == STOPPED)
    )
    return None if data is None else str(data["reason"])


def tried(session: Session, job: Job) -> dict[int, dict[int, Tried]]:
    """Read what came of a pilot, by endpoint and row."""
    statement = select(
        CellResult.endpoint,
        CellResult.row,
        CellResult.outcome,
        CellResult.n_attempts,
        CellResult.input_tokens,
        CellResult.output_tokens,
        CellResult.latency_ms,
        CellResult.cost_usd,
        CellResult.reused,
    ).where(CellResult.bucket == job.bucket, CellResult.job_id == job.id)
    found: dict[int, dict[int, Tried]] = {}
    for (
        endpoint,
        row,
        outcome,
        calls,
        tokens_in,
        tokens_out,
        latency,
        cost,
        reused,
    ) in session.execute(statement):
        found.setdefault(endpoint, {})[row] = Tried(
            outcome=Outcome(outcome),
            calls=calls,
            input_tokens=tokens_in,
            output_tokens=tokens_out,
            latency_ms=latency,
            cost_usd=cost,
            reused=reused,
        )
    return found
