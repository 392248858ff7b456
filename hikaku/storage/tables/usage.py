"""What the gateway was used for where somebody waited: single calls for a while, sums for good.

Calls of jobs are not here: the attempt ledger has them, and shards their sums.
"""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, Boolean, Integer, Numeric, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION, REAL
from sqlalchemy.orm import Mapped, mapped_column

from hikaku.storage.tables.declaration import Base

_ZERO = text("0")


class UsageHour(Base):
    """Sums of one hour; as many rows as there are names, however many calls were made."""

    __tablename__ = "usage_hour"

    hour: Mapped[datetime] = mapped_column(primary_key=True)
    endpoint: Mapped[str] = mapped_column(Text, primary_key=True)
    caller: Mapped[str] = mapped_column(Text, primary_key=True)
    """The id of a key, never the key; empty where there is none."""
    outcome: Mapped[str] = mapped_column(Text, primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    attempts: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Calls to providers, repeated ones included."""
    cached: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    streamed: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    input_tokens: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    output_tokens: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    seconds: Mapped[float] = mapped_column(DOUBLE_PRECISION, server_default=_ZERO)
    cost_usd: Mapped[Decimal] = mapped_column(server_default=_ZERO)
    n_cost_unknown: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)


class UsagePrice(Base):
    """A price that calls were reckoned at; never changed, so that history is not either."""

    __tablename__ = "usage_price"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """A digest of the rest: whoever writes the same price writes the same row."""
    source: Mapped[str] = mapped_column(Text)
    """The gateway's file, or version, page and month of the table."""
    input_usd_per_million_tokens: Mapped[Decimal | None] = mapped_column(Numeric)
    output_usd_per_million_tokens: Mapped[Decimal | None] = mapped_column(Numeric)
    cached_input_usd_per_million_tokens: Mapped[Decimal | None] = mapped_column(Numeric)


class UsageCall(Base):
    """One call; in partitions of a day, which are dropped when they are old."""

    __tablename__ = "usage_call"
    __table_args__ = ({"postgresql_partition_by": "RANGE (at)"},)

    at: Mapped[datetime] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(Text, primary_key=True)
    caller: Mapped[str] = mapped_column(Text)
    asked: Mapped[str] = mapped_column(Text)
    endpoint: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    status: Mapped[int | None] = mapped_column(SmallInteger)
    input_tokens: Mapped[int | None] = mapped_column(Integer)
    output_tokens: Mapped[int | None] = mapped_column(Integer)
    cost_usd: Mapped[Decimal | None]
    """As reckoned when it was made; null: not known."""
    attempts: Mapped[int] = mapped_column(SmallInteger)
    seconds: Mapped[float] = mapped_column(REAL)
    provider_seconds: Mapped[float] = mapped_column(REAL)
    first_byte_seconds: Mapped[float | None] = mapped_column(REAL)
    streamed: Mapped[bool] = mapped_column(Boolean)
    cached: Mapped[bool] = mapped_column(Boolean)
    price_id: Mapped[int | None] = mapped_column(BigInteger)
    """Of `usage_price`. No foreign key: it would be looked up for each of so many rows."""
