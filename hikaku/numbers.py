"""Numbers, switches and times as a request must write them: no text and no `true` for a number."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, Strict
from pydantic_core import PydanticCustomError, PydanticKnownError

MOST_NUMBERED = 2**31 - 1
"""The highest revision or version that a column of the database holds."""

MOST_USD = Decimal(1_000_000_000)
"""No limit is higher."""


def _not_text(kind: Literal["int_type", "float_type"]) -> BeforeValidator:
    def check(value: object) -> object:
        if isinstance(value, bool | str | bytes):
            raise PydanticKnownError(kind)
        return value

    return BeforeValidator(check)


def _not_true(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticKnownError("decimal_type")
    return value


def _not_counted(value: object) -> object:
    """Refuse the seconds since 1970, which JSON has no time for."""
    if isinstance(value, int | float | Decimal):
        raise PydanticCustomError("time_type", "Input should be a time such as {example}", _TIME)
    return value


def _countable(time: datetime) -> datetime:
    if not _YEARS[0] <= time.year < _YEARS[1]:
        raise PydanticCustomError("time_range", "Input should lie between the years 1900 and 9000")
    return time


_YEARS = (1900, 9000)
_TIME = {"example": "2026-11-22T09:00:00Z"}

WHOLE = _not_text("int_type")
"""Behind the bounds of an `int`: 2 or 2.0; not "2", and not true."""

FRACTION = _not_text("float_type")
"""The same of a `float`."""

WholeNumber = Annotated[int, WHOLE]
Number = Annotated[float, FRACTION]

Switch = Annotated[bool, Strict()]
"""true or false; not 1, and not "yes"."""

Moment = Annotated[AwareDatetime, AfterValidator(_countable)]
"""A time of a query, from which days can be taken and to which they can be added."""

Time = Annotated[Moment, BeforeValidator(_not_counted)]
"""The same in a body: RFC 3339 text."""

Numbered = Annotated[int, Field(ge=1, le=MOST_NUMBERED), WHOLE]
"""A revision or a version."""

Usd = Annotated[Decimal, Field(gt=0, le=MOST_USD, decimal_places=10), BeforeValidator(_not_true)]
"""Money, as a number or, to be exact, as text."""
