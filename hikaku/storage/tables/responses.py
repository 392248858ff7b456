"""Whole answers to whole requests."""

from sqlalchemy import Integer, SmallInteger, Text
from sqlalchemy.orm import Mapped, mapped_column

from hikaku import ids
from hikaku.storage.tables.declaration import Base
from hikaku.storage.types import PublicId


class CellResponse(Base):
    """The answer to a cell that was a whole request, as a client would have been sent it."""

    __tablename__ = "cell_response"
    __table_args__ = ({"postgresql_partition_by": "LIST (bucket)"},)

    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    job_id: Mapped[str] = mapped_column(PublicId(ids.JOB), primary_key=True)
    endpoint: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    row: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    repeat: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    status: Mapped[int] = mapped_column(SmallInteger)
    request_id: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    """JSON as text: every number and every key stays as it came."""
