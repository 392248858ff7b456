"""Budgets, what claims hold of them, completions that are being bought, and estimates."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, LargeBinary, Text
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import Mapped, mapped_column

from hikaku import ids
from hikaku.storage.tables.declaration import NOW, Base, Json, one_of
from hikaku.storage.types import PublicId


class BudgetKind(StrEnum):
    """Whose budget it is."""

    JOB = "job"
    PROJECT = "project"


class Budget(Base):
    """What a job or a project may cost, what it has cost, and what claims may still cost.

    `spent_usd + reserved_usd` never passes `limit_usd` by a reservation: that is checked in the
    statement that reserves. A limit may be set below what is spent; then nothing more is reserved.
    """

    __tablename__ = "budget"
    __table_args__ = (
        one_of("kind", BudgetKind),
        CheckConstraint("limit_usd >= 0", name="limit_is_money"),
        CheckConstraint("reserved_usd >= 0", name="reserved_is_money"),
    )

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    owner: Mapped[str] = mapped_column(Text, primary_key=True)
    """A job's id, or a project's name."""
    limit_usd: Mapped[Decimal]
    spent_usd: Mapped[Decimal] = mapped_column(server_default=sql("0"))
    """By claims that are over; those that are not have it in `reservation`."""
    reserved_usd: Mapped[Decimal] = mapped_column(server_default=sql("0"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    """Calls made before are not counted."""


class Reservation(Base):
    """What one claim of a shard may cost; set aside in bulk before its first call.

    It is released when the claim ends, or when the spool of its dead worker has been adopted:
    until then all of it counts as spent, because nobody knows which calls were made.
    """

    __tablename__ = "reservation"
    __table_args__ = (
        Index("reservation_open", "worker", postgresql_where=sql("released_at is null")),
        Index("reservation_by_job", "job_id"),
    )

    shard_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    job_id: Mapped[str] = mapped_column(PublicId(ids.JOB))
    """No foreign key: it would lock the job's row behind the budget's, and others do so before."""
    project: Mapped[str] = mapped_column(Text)
    of_job: Mapped[bool]
    of_project: Mapped[bool]
    """Which budgets count it: those that there were when it was made."""
    worker: Mapped[UUID] = mapped_column(PG_UUID(as_uuid=True))
    usd: Mapped[Decimal]
    spent_usd: Mapped[Decimal] = mapped_column(server_default=sql("0"))
    """Settled, in the transactions of the results."""
    unknown_usd: Mapped[Decimal] = mapped_column(server_default=sql("0"))
    """Of the spent: calls whose cost nobody knows, at the most that they can have cost."""
    released_at: Mapped[datetime | None]


class InFlightCompletion(Base):
    """Who is buying a completion now; good as long as that claim of the shard is."""

    __tablename__ = "in_flight_completion"
    __table_args__ = (Index("in_flight_completion_by_shard", "shard_id"),)

    request_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    shard_id: Mapped[int] = mapped_column(BigInteger)
    epoch: Mapped[int] = mapped_column(Integer)


class JobEstimate(Base):
    """What a job was estimated to need, by all that decides its calls; the newest stays."""

    __tablename__ = "job_estimate"

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    pilot_job_id: Mapped[str] = mapped_column(PublicId(ids.JOB), ForeignKey("job.id"))
    body: Mapped[Json]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
