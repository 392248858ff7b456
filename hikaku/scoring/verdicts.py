"""What every scorer is and gives, and how expected answers are read."""

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

Found = TypeVar("Found")
Which = Literal["first", "last"]

MAX_DETAIL_CHARACTERS = 200
"""Of what a scorer quotes from a completion."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One scorer's judgement of one completion."""

    value: float | None
    """In [0, 1]; None when there is no judgement, which is never the same as 0."""
    unscored: str | None = None
    """Why there is no value."""
    detail: str | None = None
    """What was extracted or compared, for the reader."""


NO_TARGET = Verdict(None, unscored="the row has no expected answer")
_HIT, _MISS = Verdict(1.0), Verdict(0.0)


class Scorer(Protocol):
    """Judges one completion against one expected answer; the same input, the same verdict."""

    type: ClassVar[str]
    version: ClassVar[int]
    """Raised by every change that may alter a verdict."""

    @property
    def options(self) -> dict[str, Any]:
        """The options with their defaults, as JSON; `build` makes the same scorer from them."""
        ...

    @property
    def needs_target(self) -> bool:
        """Whether every verdict depends on the row's expected answer."""
        ...

    def score(self, completion: str, target: object) -> Verdict:
        """Judge; `target` is any JSON value, or None where the row has none."""
        ...


class Options(BaseModel):
    """The options that a scorer consists of: checked when it is built, and never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def options(self) -> dict[str, Any]:
        """The options with their defaults, as JSON."""
        return self.model_dump(mode="json")

    @property
    def needs_target(self) -> bool:
        """Whether every verdict depends on the row's expected answer."""
        return True


def targets(target: object) -> tuple[str, ...]:
    """Give the accepted answers as text: one, or each of a list; empty when there is none.

    Numbers, true and false are taken as JSON writes them.

    Raises:
        ValueError: An answer is an object or a list of lists, which no text can equal.
    """
    accepted = target if isinstance(target, list | tuple) else [target]
    return tuple(_text(answer) for answer in accepted if answer is not None)


def _text(answer: object) -> str:
    if isinstance(answer, str):
        return answer
    if isinstance(answer, bool | int | float):
        return json.dumps(answer)
    raise ValueError("the expected answer is neither text nor a number, nor a list of these")


def unscored(error: ValueError) -> Verdict:
    """Make the verdict that there is none."""
    return Verdict(None, unscored=str(error))


def hit(*, is_hit: bool, detail: str | None = None) -> Verdict:
    """Make the verdict 1 or 0."""
    if detail is None:
        return _HIT if is_hit else _MISS
    return Verdict(1.0 if is_hit else 0.0, detail=detail)


def quoted(text: str) -> str:
    """Quote from a completion, shortened."""
    return text if len(text) <= MAX_DETAIL_CHARACTERS else f"{text[:MAX_DETAIL_CHARACTERS]}…"


def chosen(found: Iterable[Found], which: Which) -> Found | None:
    """Take the first or the last of what was found; None when there is nothing."""
    if which == "first":
        return next(iter(found), None)
    last = deque(found, maxlen=1)
    return last[0] if last else None
