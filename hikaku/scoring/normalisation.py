"""What two texts may differ in and still be called the same."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

_ARTICLE = re.compile(r"\b(?:a|an|the)\b", re.IGNORECASE)
_SPACES = re.compile(r"\s+")


class Step(StrEnum):
    """One thing that is made equal; steps are taken in the order in which they are listed."""

    NFKC = "nfkc"  #: Full-width and half-width forms, composed and decomposed characters.
    CASEFOLD = "casefold"  #: Upper and lower case.
    STRIP = "strip"  #: White space at both ends.
    COLLAPSE_SPACES = "collapse_spaces"  #: Every run of white space becomes one space.
    PUNCTUATION = "punctuation"  #: Punctuation of any script is taken out; minus and point too.
    ARTICLES = "articles"  #: The English words a, an, the are taken out.


DEFAULT_STEPS = (Step.NFKC, Step.STRIP)


def normalised(text: str, steps: Iterable[Step]) -> str:
    """Take the steps, in their order."""
    for step in steps:
        text = _STEPS[step](text)
    return text


def _without_punctuation(text: str) -> str:
    return "".join(c for c in text if not unicodedata.category(c).startswith("P"))


_STEPS: Mapping[Step, Callable[[str], str]] = {
    Step.NFKC: lambda text: unicodedata.normalize("NFKC", text),
    Step.CASEFOLD: str.casefold,
    Step.STRIP: str.strip,
    Step.COLLAPSE_SPACES: lambda text: _SPACES.sub(" ", text),
    Step.PUNCTUATION: _without_punctuation,
    Step.ARTICLES: lambda text: _ARTICLE.sub(" ", text),
}
