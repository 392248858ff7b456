"""Jobs, what happened to them, their shards, and the workers that hold those."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import Mapped, mapped_column

from hikaku import ids
from hikaku.jobs import JobState, Outcome, ShardKind, ShardState
from hikaku.storage.tables.declaration import NOW, Base, Json, one_of
from hikaku.storage.types import PublicId


class Project(Base):
    """Jobs that share the workers as one party, and the share that they have."""

    __tablename__ = "project"
    __table_args__ = (CheckConstraint("weight > 0", name="weight_is_positive"),)

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    weight: Mapped[float] = mapped_column(Double, server_default=text("1"))
    """Of two projects that both have work waiting, one of weight 2 runs twice as many calls."""
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Job(Base):
    """Template x dataset revision x endpoints x parameters x repeats x scorers."""

    __tablename__ = "job"
    __table_args__ = (
        one_of("state", JobState),
        Index("job_unfinished", "state", postgresql_where=text("finished_at is null")),
        Index("job_by_project", "project", "id"),
    )

    id: Mapped[str] = mapped_column(PublicId(ids.JOB), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    state: Mapped[JobState] = mapped_column(Text)
    snapshot: Mapped[Json]
    """`hikaku.specs.Snapshot`: all that decides the results, without secrets; it only grows."""
    revision_id: Mapped[str] = mapped_column(
        PublicId(ids.DATASET_REVISION), ForeignKey("dataset_revision.id")
    )
    bucket: Mapped[int] = mapped_column(SmallInteger)
    project: Mapped[str] = mapped_column(Text, server_default=text("'default'"))
    """Name of a row of `project`."""
    priority: Mapped[int] = mapped_column(SmallInteger, server_default=text("5"))
    """Inside its project; 0 goes first."""
    round: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    """How often failed cells have been retried on request."""
    n_cells: Mapped[int] = mapped_column(BigInteger)
    owes_scores: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether recorded completions may lack the score of a scorer; paid before the job ends."""
    served_at: Mapped[datetime | None]
    """When a worker last took a shard of it: of two with equal rights the other goes next."""
    estimate: Mapped[Json | None]
    """What a preflight of the same job foresaw, to be held against what came."""
    paused_for: Mapped[str | None] = mapped_column(Text)
    """`budget` when it paused because its money, or its project's, was spent."""
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobEvent(Base):
    """What happened to a job, in order; the stream of `GET /jobs/{id}/events` replays it."""

    __tablename__ = "job_event"
    __table_args__ = (Index("job_event_by_job", "job_id", "seq"),)

    seq: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[str] = mapped_column(PublicId(ids.JOB), ForeignKey("job.id"))
    kind: Mapped[str] = mapped_column(Text)
    data: Mapped[Json]
    at: Mapped[datetime] = mapped_column(server_default=NOW)


class Worker(Base):
    """A worker process and its lease; its shards are lost when the lease ends."""

    __tablename__ = "worker"
    __table_args__ = (Index("worker_by_lease", "lease_until"),)

    id: Mapped[UUID] = mapped_column(PG_UUID(as_uuid=True), primary_key=True)
    host: Mapped[str] = mapped_column(Text)
    pid: Mapped[int] = mapped_column(Integer)
    started_at: Mapped[datetime] = mapped_column(server_default=NOW)
    lease_until: Mapped[datetime]
    trouble: Mapped[str | None] = mapped_column(Text)
    """What keeps it from asking, such as a full disk; null when nothing does."""


class Shard(Base):
    """A run of cells of one endpoint that one Celery task takes.

    Its cells are rows [row_from, row_to) x repeats [repeat_from, repeat_to), or, when `rows` is
    set, the listed (row, repeat) pairs. Its counters are written in the transaction of the
    results they count, so they equal the rows at all times.
    """

    __tablename__ = "shard"
    __table_args__ = (
        one_of("state", ShardState),
        one_of("kind", ShardKind),
        Index("shard_ready", "job_id", "id", postgresql_where=text("state = 'queued'")),
        Index("shard_by_owner", "owner", postgresql_where=text("state = 'running'")),
        Index("shard_by_job", "job_id", "state"),
        Index("shard_by_finish", "finished_at", postgresql_where=text("finished_at is not null")),
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[str] = mapped_column(PublicId(ids.JOB), ForeignKey("job.id"))
    kind: Mapped[ShardKind] = mapped_column(Text, server_default=text("'ask'"))
    endpoint: Mapped[int] = mapped_column(SmallInteger)
    row_from: Mapped[int] = mapped_column(Integer)
    row_to: Mapped[int] = mapped_column(Integer)
    repeat_from: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    repeat_to: Mapped[int] = mapped_column(SmallInteger)
    rows: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    repeats: Mapped[list[int] | None] = mapped_column(ARRAY(SmallInteger))
    round: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    n_cells: Mapped[int] = mapped_column(Integer)
    state: Mapped[ShardState] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(SmallInteger)
    epoch: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """Raised by every claim; only the claimant of the present epoch may complete the shard."""
    claims: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    owner: Mapped[UUID | None] = mapped_column(PG_UUID(as_uuid=True))
    published_at: Mapped[datetime | None]
    """When its hint was last put on the broker; None asks the sweep to do so."""
    not_before: Mapped[datetime] = mapped_column(server_default=NOW)
    error: Mapped[str | None] = mapped_column(Text)
    finished_at: Mapped[datetime | None]
    n_ok: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    n_truncated: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    n_refused: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    n_invalid_request: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    n_rate_limited: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    n_timeout: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    n_provider_error: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    n_malformed: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    n_budget_skipped: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    n_cancelled: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    n_reused: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    n_calls: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    n_calls_unknown: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """Calls bought twice, perhaps: in flight when their worker died, or answered second."""
    input_tokens: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    output_tokens: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    cost_usd: Mapped[Decimal] = mapped_column(server_default=text("0"))
    n_cost_unknown: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """Calls that may have been billed and whose price or usage is not known."""


RECORDED = " + ".join(f"n_{outcome}" for outcome in Outcome)
"""SQL: how many cells of a shard have an outcome."""
