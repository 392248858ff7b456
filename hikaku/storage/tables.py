"""The tables. Postgres is the queue of record and the only memory.

`dataset_row`, `cell_result`, `attempt` and `score` are partitioned by `bucket` from the start:
a bucket is closed at about 25 million rows, and retention is detach and drop, never delete.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, REAL, TIMESTAMP
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hikaku import ids
from hikaku.jobs import JobState, Outcome, ShardState
from hikaku.storage.types import PublicId

Time = TIMESTAMP(timezone=True)
NOW = text("now()")
Json = dict[str, Any]


def _one_of(column: str, values: type[JobState | ShardState | Outcome]) -> CheckConstraint:
    names = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} in ({names})", name=f"{column}_is_known")


class Base(DeclarativeBase):
    """Root of the mapped tables; JSON is kept as text, so key order and numbers survive."""

    type_annotation_map = {Json: JSON, list[Any]: JSON, datetime: Time, Decimal: Numeric(20, 10)}  # noqa: RUF012
    metadata_naming = {  # noqa: RUF012
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }


Base.metadata.naming_convention = Base.metadata_naming


class Dataset(Base):
    """A name under which revisions follow each other."""

    __tablename__ = "dataset"

    key: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class DatasetRevision(Base):
    """An immutable list of rows; one without a dataset carries the inline rows of a job."""

    __tablename__ = "dataset_revision"
    __table_args__ = (
        UniqueConstraint("dataset_key", "number"),
        Index("dataset_revision_by_content", "dataset_key", "fingerprint"),
    )

    id: Mapped[str] = mapped_column(PublicId(ids.DATASET_REVISION), primary_key=True)
    dataset_key: Mapped[int | None] = mapped_column(ForeignKey("dataset.key"))
    number: Mapped[int | None] = mapped_column(Integer)
    bucket: Mapped[int] = mapped_column(SmallInteger)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256 over the rows in order, as written by `hikaku.datasets`."""
    n_rows: Mapped[int] = mapped_column(Integer)
    columns: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """Names seen in the rows, in order of first appearance."""
    source: Mapped[str | None] = mapped_column(Text)
    """File name and format it came in, for the reader."""
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class DatasetRow(Base):
    """One row of a revision."""

    __tablename__ = "dataset_row"
    __table_args__ = ({"postgresql_partition_by": "LIST (bucket)"},)

    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    revision_id: Mapped[str] = mapped_column(PublicId(ids.DATASET_REVISION), primary_key=True)
    row: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(Text)
    """The row's own `id` where it has one, else a hash of its content: what comparisons match."""
    data: Mapped[Json]


class PromptTemplate(Base):
    """A name under which versions of a prompt template follow each other."""

    __tablename__ = "prompt_template"

    key: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class PromptVersion(Base):
    """An immutable prompt template."""

    __tablename__ = "prompt_version"
    __table_args__ = (UniqueConstraint("template_key", "number"),)

    id: Mapped[str] = mapped_column(PublicId(ids.PROMPT_VERSION), primary_key=True)
    template_key: Mapped[int] = mapped_column(ForeignKey("prompt_template.key"))
    number: Mapped[int] = mapped_column(Integer)
    messages: Mapped[list[Any]]
    """`[{"role": ..., "content": ...}]` with `{{variables}}`."""
    variables: Mapped[list[str]] = mapped_column(ARRAY(Text))
    note: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Job(Base):
    """Template x dataset revision x endpoints x parameters x repeats x scorers."""

    __tablename__ = "job"
    __table_args__ = (
        _one_of("state", JobState),
        Index("job_unfinished", "state", postgresql_where=text("finished_at is null")),
    )

    id: Mapped[str] = mapped_column(PublicId(ids.JOB), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    state: Mapped[JobState] = mapped_column(Text)
    snapshot: Mapped[Json]
    """`hikaku.specs.Snapshot`: all that decides the results, without secrets; never changed."""
    revision_id: Mapped[str] = mapped_column(
        PublicId(ids.DATASET_REVISION), ForeignKey("dataset_revision.id")
    )
    bucket: Mapped[int] = mapped_column(SmallInteger)
    priority: Mapped[int] = mapped_column(SmallInteger, server_default=text("5"))
    round: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    """How often failed cells have been retried on request."""
    n_cells: Mapped[int] = mapped_column(BigInteger)
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


class Shard(Base):
    """A run of cells of one endpoint that one Celery task takes.

    Its cells are rows [row_from, row_to) x repeats [repeat_from, repeat_to), or, when `rows` is
    set, the listed (row, repeat) pairs. Its counters are written in the transaction of the
    results they count, so they equal the rows at all times.
    """

    __tablename__ = "shard"
    __table_args__ = (
        _one_of("state", ShardState),
        Index("shard_ready", "priority", "id", postgresql_where=text("state = 'queued'")),
        Index("shard_by_owner", "owner", postgresql_where=text("state = 'running'")),
        Index("shard_by_job", "job_id", "state"),
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[str] = mapped_column(PublicId(ids.JOB), ForeignKey("job.id"))
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
    """Calls in flight when their worker died: made again, and perhaps billed twice."""
    input_tokens: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    output_tokens: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    cost_usd: Mapped[Decimal] = mapped_column(server_default=text("0"))
    n_cost_unknown: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """Calls that may have been billed and whose price or usage is not known."""


class CellResult(Base):
    """How one cell ended; written once, and again only by a retry of a failed cell."""

    __tablename__ = "cell_result"
    __table_args__ = (
        _one_of("outcome", Outcome),
        {"postgresql_partition_by": "LIST (bucket)"},
    )

    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    job_id: Mapped[str] = mapped_column(PublicId(ids.JOB), primary_key=True)
    endpoint: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    row: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    repeat: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    round: Mapped[int] = mapped_column(SmallInteger)
    shard_id: Mapped[int] = mapped_column(BigInteger)
    epoch: Mapped[int] = mapped_column(Integer)
    outcome: Mapped[Outcome] = mapped_column(Text)
    completion: Mapped[str | None] = mapped_column(Text)
    finish_reason: Mapped[str | None] = mapped_column(Text)
    input_tokens: Mapped[int | None] = mapped_column(Integer)
    output_tokens: Mapped[int | None] = mapped_column(Integer)
    latency_ms: Mapped[float | None] = mapped_column(REAL)
    cost_usd: Mapped[Decimal | None]
    error: Mapped[str | None] = mapped_column(Text)
    reused: Mapped[bool] = mapped_column(server_default=text("false"))
    n_attempts: Mapped[int] = mapped_column(SmallInteger)
    recorded_at: Mapped[datetime]


class AttemptLine(Base):
    """The ledger: one HTTP call made for a cell. Lines are added, never changed.

    Its key is natural, so a line arrives once however often it is sent: a shard's epoch names
    the claim under which the call was made, and `number` counts within it.
    """

    __tablename__ = "attempt"
    __table_args__ = ({"postgresql_partition_by": "LIST (bucket)"},)

    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    job_id: Mapped[str] = mapped_column(PublicId(ids.JOB), primary_key=True)
    endpoint: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    row: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    repeat: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    round: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    shard_id: Mapped[int] = mapped_column(BigInteger)
    outcome: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime]
    latency_ms: Mapped[float | None] = mapped_column(REAL)
    status: Mapped[int | None] = mapped_column(SmallInteger)
    error: Mapped[str | None] = mapped_column(Text)
    input_tokens: Mapped[int | None] = mapped_column(Integer)
    output_tokens: Mapped[int | None] = mapped_column(Integer)
    cost_usd: Mapped[Decimal | None]


class Score(Base):
    """One scorer's verdict on one completion; a failed cell has none. In the order of the cells."""

    __tablename__ = "score"
    __table_args__ = ({"postgresql_partition_by": "LIST (bucket)"},)

    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    job_id: Mapped[str] = mapped_column(PublicId(ids.JOB), primary_key=True)
    endpoint: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    row: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    repeat: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    scorer: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    value: Mapped[float | None] = mapped_column(DOUBLE_PRECISION)
    unscored: Mapped[str | None] = mapped_column(Text)
    detail: Mapped[str | None] = mapped_column(Text)


class RecordedCompletion(Base):
    """Where a completion lies, by the hash of all that determines it."""

    __tablename__ = "recorded_completion"

    request_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    bucket: Mapped[int] = mapped_column(SmallInteger)
    job_id: Mapped[str] = mapped_column(PublicId(ids.JOB))
    endpoint: Mapped[int] = mapped_column(SmallInteger)
    row: Mapped[int] = mapped_column(Integer)
    repeat: Mapped[int] = mapped_column(SmallInteger)


class Tracking(Base):
    """The outbox to MLflow: one line per job; MLflow may be down for as long as it likes."""

    __tablename__ = "tracking"
    __table_args__ = (
        CheckConstraint("state in ('pending', 'synced')", name="state_is_known"),
        Index("tracking_due", "next_try_at", postgresql_where=text("state = 'pending'")),
    )

    job_id: Mapped[str] = mapped_column(PublicId(ids.JOB), ForeignKey("job.id"), primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    tries: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    next_try_at: Mapped[datetime] = mapped_column(server_default=NOW)
    run_id: Mapped[str | None] = mapped_column(Text)
    url: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    synced_at: Mapped[datetime | None]


class Schedule(Base):
    """A cron line that submits a job."""

    __tablename__ = "schedule"
    __table_args__ = (
        Index("schedule_due", "next_fire_at", postgresql_where=text("not paused")),
        CheckConstraint("missed_policy in ('skip', 'run_latest')", name="missed_policy_is_known"),
    )

    id: Mapped[str] = mapped_column(PublicId(ids.SCHEDULE), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    cron: Mapped[str] = mapped_column(Text)
    time_zone: Mapped[str] = mapped_column(Text)
    missed_policy: Mapped[str] = mapped_column(Text)
    spec: Mapped[Json]
    """`hikaku.specs.JobSpec` as it was posted; resolved anew at every slot."""
    paused: Mapped[bool] = mapped_column(server_default=text("false"))
    next_fire_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Slot(Base):
    """One firing of a schedule; its primary key is what makes it happen once."""

    __tablename__ = "slot"
    __table_args__ = (
        CheckConstraint("state in ('fired', 'missed', 'failed')", name="state_is_known"),
    )

    schedule_id: Mapped[str] = mapped_column(
        PublicId(ids.SCHEDULE), ForeignKey("schedule.id", ondelete="CASCADE"), primary_key=True
    )
    fire_at: Mapped[datetime] = mapped_column(Time, primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    job_id: Mapped[str | None] = mapped_column(PublicId(ids.JOB), ForeignKey("job.id"))
    error: Mapped[str | None] = mapped_column(Text)
    decided_at: Mapped[datetime] = mapped_column(server_default=NOW)


class IdempotencyKey(Base):
    """The first answer to a POST, replayed to its repetitions."""

    __tablename__ = "idempotency_key"
    __table_args__ = (Index("idempotency_key_by_age", "created_at"),)

    route: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int | None] = mapped_column(SmallInteger)
    """None while the first request is still being answered."""
    body: Mapped[Json | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
