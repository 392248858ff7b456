"""Prompt templates and their versions."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Identity,
    Integer,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from hikaku import ids
from hikaku.storage.tables.declaration import NOW, Base
from hikaku.storage.types import PublicId


class PromptTemplate(Base):
    """A name under which versions of a prompt template follow each other."""

    __tablename__ = "prompt_template"

    key: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class PromptVersion(Base):
    """An immutable prompt template."""

    __tablename__ = "prompt_version"
    __table_args__ = (UniqueConstraint("template_key", "number"),)

    id: Mapped[str] = mapped_column(PublicId(ids.PROMPT_VERSION), primary_key=True)
    template_key: Mapped[int] = mapped_column(ForeignKey("prompt_template.key"))
    number: Mapped[int] = mapped_column(Integer)
    messages: Mapped[list[Any]]
    """`[{"role": ..., "content": ...}]` with `{{variables}}`."""
    variables: Mapped[list[str]] = mapped_column(ARRAY(Text))
    note: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
