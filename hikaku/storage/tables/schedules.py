"""Schedules and their slots."""

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from hikaku import ids
from hikaku.storage.tables.declaration import NOW, Base, Json, Time
from hikaku.storage.types import PublicId


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
