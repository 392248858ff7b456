"""The types of scorers, and how one is built from what a user wrote."""

import difflib
from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hikaku.errors import Fault, InvalidInput, UnknownName
from hikaku.scoring.numeric import Numeric
from hikaku.scoring.regex import Regex
from hikaku.scoring.text import Contains, ExactMatch
from hikaku.scoring.verdicts import Options, Scorer

_SCORERS = (ExactMatch, Contains, Regex, Numeric)

REGISTRY: Mapping[str, type[Options]] = {scorer.type: scorer for scorer in _SCORERS}
"""Types by name; each is a Pydantic model of its options, whose JSON schema describes them."""


def build(type: str, options: Mapping[str, object]) -> Scorer:  # noqa: A002 - the user's own word
    """Make a scorer.

    Raises:
        UnknownName: There is no such type; points at `/type`.
        InvalidInput: An option is unknown or its value is bad; points at `/<option>`.
    """
    for scorer in _SCORERS:
        if scorer.type == type:
            try:
                return scorer.model_validate(dict(options))
            except ValidationError as error:
                raise _refused(scorer, error) from error
    message = f"there is no scorer {type!r}; {_nearest(type, list(REGISTRY))}"
    raise UnknownName(message, faults=[Fault(pointer="/type", message=message)])


def _refused(scorer: type[Options], error: ValidationError) -> InvalidInput:
    faults = [_fault(scorer, details) for details in error.errors(include_url=False)]
    return InvalidInput(faults[0].message, faults=faults)


def _fault(scorer: type[Options], details: ErrorDetails) -> Fault:
    # Inside an option, words are Pydantic's names of the types that it may have.
    loc = enumerate(details["loc"])
    location = [str(part) for depth, part in loc if not depth or isinstance(part, int)]
    pointer = "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in location)
    if details["type"] == "extra_forbidden":
        known = list(scorer.model_fields)
        message = f"{_name(scorer)} has no option {location[-1]!r}; {_nearest(location[-1], known)}"
    else:
        where = ".".join(location)
        reason = details["msg"].removeprefix("Value error, ")
        message = f"{_name(scorer)}: {where}: {reason}" if where else f"{_name(scorer)}: {reason}"
    return Fault(pointer=pointer or "/pattern", message=message)


def _name(scorer: type[Options]) -> str:
    return next(name for name, known in REGISTRY.items() if known is scorer)


def _nearest(name: str, known: list[str]) -> str:
    guess = difflib.get_close_matches(name.casefold(), known, n=1)
    there = f"there are: {', '.join(known)}"
    return f"did you mean {guess[0]!r}? {there}" if guess else there
