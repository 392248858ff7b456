"""What the cells ended with: results, calls, scores, and where completions lie."""

from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from sqlalchemy import (
    BigInteger,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION, REAL
from sqlalchemy.orm import Mapped, MappedColumn, mapped_column
from sqlalchemy.types import TypeEngine

from hikaku import ids
from hikaku.jobs import Outcome
from hikaku.storage.tables.declaration import Base, one_of
from hikaku.storage.types import PublicId

T = TypeVar("T")


def _of_key(column_type: TypeEngine[T] | type[TypeEngine[T]]) -> MappedColumn[T]:
    # Ahead of the columns of each table: so they lie in Postgres, and so the key is ordered.
    return mapped_column(column_type, primary_key=True, autoincrement=False, sort_order=-1)


class OfCell:
    """The key of what there is of one cell, and the bucket that it lies in."""

    bucket: Mapped[int] = _of_key(SmallInteger)
    job_id: Mapped[str] = _of_key(PublicId(ids.JOB))
    endpoint: Mapped[int] = _of_key(SmallInteger)
    row: Mapped[int] = _of_key(Integer)
    repeat: Mapped[int] = _of_key(SmallInteger)


class CellResult(OfCell, Base):
    """How one cell ended; written once, and again only by a retry of a failed cell."""

    __tablename__ = "cell_result"
    __table_args__ = (
        one_of("outcome", Outcome),
        {"postgresql_partition_by": "LIST (bucket)"},
    )

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


class AttemptLine(OfCell, Base):
    """The ledger: one HTTP call made for a cell. Lines are added, never changed.

    Its key is natural, so a line arrives once however often it is sent: a shard's epoch names
    the claim under which the call was made, and `number` counts within it.
    """

    __tablename__ = "attempt"
    __table_args__ = ({"postgresql_partition_by": "LIST (bucket)"},)

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
    reserved_usd: Mapped[Decimal | None]
    """What was set aside for it, where a budget holds; spent where the cost stays unknown."""


class Score(OfCell, Base):
    """One scorer's verdict on one completion; a failed cell has none. In the order of the cells."""

    __tablename__ = "score"
    __table_args__ = ({"postgresql_partition_by": "LIST (bucket)"},)

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
