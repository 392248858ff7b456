"""The outbox to MLflow."""

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from hikaku import ids
from hikaku.storage.tables.declaration import NOW, Base
from hikaku.storage.types import PublicId


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
