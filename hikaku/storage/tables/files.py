"""Files in pieces, and the batches that read and write them."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, SmallInteger, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from hikaku import ids
from hikaku.batches import BatchState
from hikaku.specs import RequestPath
from hikaku.storage.tables.declaration import NOW, Base, Json, one_of
from hikaku.storage.types import PublicId


class File(Base):
    """A file that was uploaded or written by a batch; it never changes."""

    __tablename__ = "file"
    __table_args__ = (
        Index("file_by_expiry", "expires_at", postgresql_where=text("expires_at is not null")),
    )

    id: Mapped[str] = mapped_column(PublicId(ids.FILE), primary_key=True)
    bucket: Mapped[int] = mapped_column(SmallInteger)
    name: Mapped[str] = mapped_column(Text)
    purpose: Mapped[str] = mapped_column(Text)
    n_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime | None]


class FileChunk(Base):
    """A piece of a file."""

    __tablename__ = "file_chunk"
    __table_args__ = ({"postgresql_partition_by": "LIST (bucket)"},)

    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    file_id: Mapped[str] = mapped_column(PublicId(ids.FILE), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class Batch(Base):
    """A batch of requests: read out of a file, run as a job, and written into files."""

    __tablename__ = "batch"
    __table_args__ = (
        one_of("state", BatchState),
        one_of("path", RequestPath),
        Index("batch_open", "id", postgresql_where=text("ended_at is null")),
    )

    id: Mapped[str] = mapped_column(PublicId(ids.BATCH), primary_key=True)
    state: Mapped[BatchState] = mapped_column(Text)
    path: Mapped[RequestPath] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(Text)
    """The endpoint that its requests name; known when they have been read."""
    window: Mapped[str] = mapped_column(Text)
    """As it was asked for: `24h`."""
    tags: Mapped[Json | None]
    """Its `metadata`."""
    input_file_id: Mapped[str] = mapped_column(PublicId(ids.FILE))
    output_file_id: Mapped[str | None] = mapped_column(PublicId(ids.FILE))
    error_file_id: Mapped[str | None] = mapped_column(PublicId(ids.FILE))
    output_lifetime: Mapped[int | None] = mapped_column(Integer)
    """Seconds that its files are kept; None means for ever."""
    job_id: Mapped[str | None] = mapped_column(PublicId(ids.JOB), ForeignKey("job.id"))
    errors: Mapped[list[Any] | None]
    """Why its file was refused: `[{"code", "message", "param", "line"}]`."""
    n_total: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    n_completed: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """Written when it ends, as `n_failed` and `usage`; until then its job is counted."""
    n_failed: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    usage: Mapped[Json | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime]
    in_progress_at: Mapped[datetime | None]
    expiring_at: Mapped[datetime | None]
    """When its time was up with requests left."""
    cancelling_at: Mapped[datetime | None]
    finalizing_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    """Completed, failed, expired or cancelled, as its state says."""
    hinted_at: Mapped[datetime | None]
    """When a worker was last told to go on with it."""
    n_faults: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """How often going on with it ended in something unforeseen."""
