"""Rows under a name: datasets, their revisions, their rows."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from hikaku import ids
from hikaku.storage.tables.declaration import NOW, Base, Json
from hikaku.storage.types import PublicId


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
