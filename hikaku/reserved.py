"""Names that sampling parameters may not bear: they say what is asked of whom, and not how."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

_THE_PROMPT = "what is asked is the prompt; parameters say only how"
_THE_ENDPOINT = "which model answers is the endpoint's to say; name another endpoint"
_THE_TRANSPORT = "answers are taken whole, and streaming one changes nothing in it; leave it out"
_THE_TALK = "every question is asked by itself and waited for; parameters say only how"

RESERVED: Mapping[str, str] = {
    **dict.fromkeys(
        ("messages", "prompt", "input", "inputs", "contents", "instructions", "system",
         "system_instruction", "preamble", "chat_history"), _THE_PROMPT
    ),
    "model": _THE_ENDPOINT,
    "stream": _THE_TRANSPORT,
    "stream_options": _THE_TRANSPORT,
    **dict.fromkeys(("background", "conversation", "previous_response_id"), _THE_TALK),
}  # fmt: skip
"""By name: why not. These are the words of all vendors that parameters are passed on to."""

Given = TypeVar("Given", bound=BaseModel)


def free_of_reserved(params: Given) -> Given:
    """Refuse parameters that would replace what a job shows as its prompt and its endpoints.

    Raises:
        ValidationError: At every such name.
    """
    found = [
        InitErrorDetails(
            type=PydanticCustomError("reserved", "{why}", {"why": RESERVED[name]}),
            loc=(name,),
            input=value,
        )
        for name, value in (params.model_extra or {}).items()
        if name in RESERVED
    ]
    if found:
        raise ValidationError.from_exception_data(type(params).__name__, found)
    return params
