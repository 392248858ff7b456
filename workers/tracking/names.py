"""What MLflow takes for a key and for a value, and how anything is made to fit."""

import re
import unicodedata
from collections.abc import Iterable

PARAM_CHARACTERS = 6_000
"""MLflow cuts longer values of parameters, and says nothing."""

TAG_CHARACTERS = 8_000

_PART_CHARACTERS = 200
"""Of a key that is made from a name; MLflow takes 250 in all."""

_FORBIDDEN = re.compile(r"[^\w.\- :]")
"""`\\w` is Unicode's: Japanese names pass, emoji and slashes do not."""


def key_part(name: str) -> str:
    """Give the part of an MLflow key that stands for a name of the user's."""
    composed = unicodedata.normalize("NFC", name)
    part = _FORBIDDEN.sub("_", composed)[:_PART_CHARACTERS]
    return "_" if part in {"", ".", ".."} else part


def distinct(names: Iterable[str]) -> list[str]:
    """Number what appears again, also in another case: some databases of MLflow's ignore it."""
    taken: set[str] = set()
    result: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{name} {number}"
        taken.add(candidate.casefold())
        result.append(candidate)
    return result


def key_parts(names: Iterable[str]) -> list[str]:
    """Give a key part for each name, in order; different names get different parts."""
    return distinct(key_part(name) for name in names)
