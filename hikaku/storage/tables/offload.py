"""Calls that were handed over to a vendor's batch interface."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from hikaku import ids
from hikaku.storage.tables.declaration import NOW, Base
from hikaku.storage.types import PublicId


class Offload(Base):
    """Some shards of a job that a vendor runs as one batch.

    Until it ends or is given up, its shards wait: `not_before` is when they are asked online.
    """

    __tablename__ = "offload"
    __table_args__ = (
        CheckConstraint(
            "state in ('planned', 'handing_over', 'running', 'ended', 'given_up')",
            name="state_is_known",
        ),
        Index(
            "offload_due",
            "next_step_at",
            postgresql_where=text("state not in ('ended', 'given_up')"),
        ),
        Index("offload_by_job", "job_id"),
    )

    id: Mapped[str] = mapped_column(PublicId(ids.OFFLOAD), primary_key=True)
    job_id: Mapped[str] = mapped_column(PublicId(ids.JOB), ForeignKey("job.id"))
    endpoint: Mapped[int] = mapped_column(SmallInteger)
    shards: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    state: Mapped[str] = mapped_column(Text, server_default=text("'planned'"))
    vendor_id: Mapped[str | None] = mapped_column(Text)
    not_ours: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    """Ids at the vendor that were mistaken for this one."""
    n_requests: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    deadline: Mapped[datetime]
    """When what is left is asked online."""
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    handed_over_at: Mapped[datetime | None]
    """Just before the vendor was asked to take it."""
    ended_at: Mapped[datetime | None]
    next_step_at: Mapped[datetime] = mapped_column(server_default=NOW)
    n_steps: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    error: Mapped[str | None] = mapped_column(Text)
