"""The root of the mapped tables, and the types that they share."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Numeric, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import DeclarativeBase

Time = TIMESTAMP(timezone=True)
NOW = text("now()")
Json = dict[str, Any]


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    """Let a column hold the values of an enumeration, and nothing else."""
    names = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} in ({names})", name=f"{column}_is_known")


class Base(DeclarativeBase):
    """Root of the mapped tables; JSON is kept as text, so key order and numbers survive."""

    type_annotation_map = {Json: JSON, list[Any]: JSON, datetime: Time, Decimal: Numeric(20, 10)}  # noqa: RUF012
    metadata_naming = {  # noqa: RUF012
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }


Base.metadata.naming_convention = Base.metadata_naming
