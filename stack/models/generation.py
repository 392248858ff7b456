"""One generation: what is asked of a runtime, and the tokens it gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Finish(StrEnum):
    """Why a generation ended."""

    LENGTH = "length"
    EOS_TOKEN = "eos_token"  # noqa: S105 - a token of text
    STOP_SEQUENCE = "stop_sequence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to choose tokens; a temperature of 0 is greedy, and None leaves a filter off."""

    temperature: float
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_n: int = 0
    """How many of the likeliest tokens to report beside the chosen one."""
    json_schema: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token, or several that only together are whole characters."""

    id: int
    text: str
    logprob: float | None
    special: bool = False
    top: tuple["Token", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The last thing a generation gives."""

    finish: Finish
    generated_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt as text and as the tokens the model reads."""

    text: str
    tokens: tuple[int, ...]
