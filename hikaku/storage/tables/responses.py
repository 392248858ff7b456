"""Whole answers to whole requests."""

from sqlalchemy import SmallInteger, Text
from sqlalchemy.orm import Mapped, mapped_column

from hikaku.storage.tables.declaration import Base
from hikaku.storage.tables.results import OfCell


class CellResponse(OfCell, Base):
    """The answer to a cell that was a whole request, as a client would have been sent it."""

    __tablename__ = "cell_response"
    __table_args__ = ({"postgresql_partition_by": "LIST (bucket)"},)

    status: Mapped[int] = mapped_column(SmallInteger)
    request_id: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    """JSON as text: every number and every key stays as it came."""
