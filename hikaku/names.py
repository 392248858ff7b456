"""How things are called, and tagged, by those who make them."""

from typing import Annotated

from pydantic import AfterValidator, Field


def not_blank(text: str) -> str:
    """Refuse text that nobody sees.

    Raises:
        ValueError: It holds blanks alone.
    """
    if not text.strip():
        raise ValueError("it is blank")
    return text


Name = Annotated[str, Field(min_length=1, max_length=200)]
Label = Annotated[Name, AfterValidator(not_blank)]
"""A name that somebody gives to something new."""


def _fit_for_paths(text: str) -> str:
    if text != text.strip():
        raise ValueError("it begins or ends with a blank")
    if not text or "/" in text or any(sign < " " or sign == "\x7f" for sign in text):
        raise ValueError("it stands in paths: give some text without `/` and control characters")
    return text


_IN_PATHS = {"pattern": r"^[^\s/\x00]([^/\x00-\x1f\x7f]*[^\s/\x00])?$"}
ProjectName = Annotated[
    str, Field(max_length=100, json_schema_extra=_IN_PATHS), AfterValidator(_fit_for_paths)
]
"""Text that stands in a path: without slashes, control characters and blanks at its ends."""

Tags = Annotated[
    dict[Label, Annotated[str, Field(max_length=1_000)]],
    Field(max_length=50, description="Names of 200 characters and values of 1,000 at most."),
]
