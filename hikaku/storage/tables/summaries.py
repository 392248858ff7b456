"""What is summed up, so that nobody counts cells: shards, and the buckets of the partitions."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, SmallInteger, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from hikaku import ids
from hikaku.storage.tables.declaration import NOW, Base
from hikaku.storage.types import PublicId


class ShardSummary(Base):
    """The scores and latencies of a finished shard's cells, packed in the order (row, repeat).

    A function of the rows that bear the shard's id, and nothing else: it can always be made again.
    """

    __tablename__ = "shard_summary"
    __table_args__ = (
        Index("shard_summary_by_job", "job_id"),
        Index("shard_summary_stale", "shard_id", postgresql_where=text("stale")),
    )

    shard_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("shard.id"), primary_key=True)
    job_id: Mapped[str] = mapped_column(PublicId(ids.JOB))
    stale: Mapped[bool] = mapped_column(server_default=text("false"))
    """Its rows have changed: the rows count until it is made again."""
    rows: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Row numbers, int4, big-endian; None when they are all those of the shard's rectangle."""
    latencies: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Milliseconds, float4, big-endian; NaN where no call was answered."""
    scores: Mapped[list[bytes] | None] = mapped_column(ARRAY(LargeBinary))
    """By scorer: a byte a cell (0, 1, or 2 for none) if that says it all, else float8 or NaN."""


class Bucket(Base):
    """A partition of the tables that grow; new jobs go to the newest one that is open."""

    __tablename__ = "bucket"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    opened_at: Mapped[datetime] = mapped_column(server_default=NOW)
    closed_at: Mapped[datetime | None]
