"""Log probabilities of Gemini's tokens, asked for and read out into OpenAI's dialect."""

from collections.abc import Sequence
from itertools import accumulate

import msgspec

from gateway.errors import InvalidRequest, MalformedAnswer, UnsupportedParameter
from gateway.providers.wishes import Wishes
from gateway.types import JSON

_MOST = 20
_NEVER = -9999.0
"""What OpenAI says of a token that is as good as impossible; no JSON has an infinite number."""


class Token(msgspec.Struct):
    """A token, and how likely it was."""

    token: str = ""
    logProbability: float | str | None = None  # noqa: N815 - Google's name

    def written(self) -> dict[str, JSON]:
        """In OpenAI's dialect. Google gives tokens as text: which bytes they are is not known."""
        told = _NEVER if self.logProbability == "-Infinity" else self.logProbability
        if not isinstance(told, float):
            raise MalformedAnswer(f"a log probability that is no number: {self.logProbability!r}")
        return {"token": self.token, "logprob": told, "bytes": None}


class _Step(msgspec.Struct):
    candidates: list[Token] = msgspec.field(default_factory=list[Token])


class LogProbabilities(msgspec.Struct):
    """Of one candidate: the tokens that were chosen, and the likeliest of every step."""

    chosenCandidates: list[Token] = msgspec.field(default_factory=list[Token])  # noqa: N815
    topCandidates: list[_Step] = msgspec.field(default_factory=list[_Step])  # noqa: N815


def asked_for(wishes: Wishes, *, vendor: str, streamed: bool, tools: bool) -> dict[str, JSON]:
    """What `generationConfig` has to say.

    Raises:
        UnsupportedParameter: In a stream, and with tools, there are none that could be given back.
    """
    wanted = wishes.take("logprobs")
    most = wishes.take_number("top_logprobs", low=0, high=_MOST, vendor=vendor)
    if most is not None and int(most) != most:
        raise InvalidRequest("`top_logprobs` must be a whole number", code="top_logprobs")
    if wanted not in (None, True, False):
        raise InvalidRequest("`logprobs` must be true or false", code="logprobs")
    if not wanted:
        if most:
            raise InvalidRequest("`top_logprobs` needs `logprobs: true`", code="top_logprobs")
        return {}
    if streamed:
        raise UnsupportedParameter("logprobs", f"{vendor} tells them with whole answers alone")
    if tools:
        raise UnsupportedParameter("logprobs", f"{vendor} mixes in the tokens of calls of tools")
    return {"responseLogprobs": True, **({"logprobs": int(most)} if most else {})}


def read(told: LogProbabilities | None, text: str, *, thought: bool) -> dict[str, JSON] | None:
    """Those of an answer's text, in OpenAI's dialect; None for an answer without a text.

    Raises:
        UnsupportedParameter: There are none, or not only those of the text.
    """
    if not text:
        return None
    if told is None or not told.chosenCandidates:
        raise UnsupportedParameter("logprobs", "this model told none")
    chosen, tops = told.chosenCandidates, told.topCandidates
    if tops and len(tops) != len(chosen):
        raise MalformedAnswer(f"log probabilities of {len(tops)} steps for {len(chosen)} tokens")
    span = _span([token.token for token in chosen], text)
    if span is None:
        if thought:
            what = "the tokens of the model's thoughts cannot be told from those of its answer"
            raise UnsupportedParameter("logprobs", what)
        span = range(len(chosen))  # A letter cut into tokens has no text of its own.
    content: list[JSON] = [
        chosen[i].written() | {"top_logprobs": [t.written() for t in _likeliest(tops, i)]}
        for i in span
    ]
    return {"content": content, "refusal": None}


def _likeliest(tops: Sequence[_Step], step: int) -> list[Token]:
    return tops[step].candidates if tops else []


def _span(tokens: Sequence[str], text: str) -> range | None:
    """The tokens that spell a text, the last of them; thoughts come before, marks of the end after.

    None when none do.
    """
    begins = [0, *accumulate(map(len, tokens))]
    joined = "".join(tokens)
    at = joined.rfind(text)
    while at >= 0:
        if at in begins and at + len(text) in begins:
            return range(begins.index(at), begins.index(at + len(text)))
        at = joined.rfind(text, 0, at + len(text) - 1)
    return None
