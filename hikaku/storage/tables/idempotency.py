"""Answers that are replayed."""

from datetime import datetime

from sqlalchemy import (
    Index,
    LargeBinary,
    SmallInteger,
    Text,
)
from sqlalchemy.orm import Mapped, mapped_column

from hikaku.storage.tables.declaration import NOW, Base, Json


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
