"""The error tree of evaluations, split by what the caller can do.

* HikakuError
  + InvalidInput        the caller mends the request (names the place and the mend)
    - UnknownName         a name or id that is not there, inside an otherwise good request
  + NotFound            the addressed thing does not exist
  + Conflict            the thing is in a state that forbids this; try another way or later
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong with an input."""

    pointer: str
    """RFC 6901 JSON pointer into the request, or `line 3, column 7` of an upload."""

    message: str
    """What is wrong and how to mend it, in a sentence."""


class HikakuError(Exception):
    """Root of everything the evaluation library raises on purpose."""

    code = "error"
    """Stable, machine-readable name of the failure."""


class InvalidInput(HikakuError):
    """The request cannot be done as written; nothing was stored."""

    code = "invalid_input"

    def __init__(self, message: str, *, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class UnknownName(InvalidInput):
    """A name or id inside the request refers to nothing."""

    code = "unknown_name"


class NotFound(HikakuError):
    """The addressed thing does not exist."""

    code = "not_found"


class Conflict(HikakuError):
    """The thing's state forbids the request."""

    code = "conflict"
