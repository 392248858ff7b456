"""Models on Bedrock that continue a text: each family's own names and answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from gateway.errors import MalformedAnswer
from gateway.providers import dialect
from gateway.providers.judged import decoded
from gateway.providers.wishes import Wishes
from gateway.types import JSON, Answer, Usage

_FINISH = {
    "FINISH": "stop", "STOP_CRITERIA_MET": "stop", "LENGTH": "length",
    "CONTENT_FILTERED": "content_filter", "COMPLETE": "stop", "MAX_TOKENS": "length",
    "ERROR_TOXIC": "content_filter",
}  # fmt: skip


class _TitanResult(msgspec.Struct):
    outputText: str  # noqa: N815 - Amazon's name
    completionReason: str | None = None  # noqa: N815
    tokenCount: int | None = None  # noqa: N815


class _Titan(msgspec.Struct):
    results: list[_TitanResult]
    inputTextTokenCount: int | None = None  # noqa: N815


class _Llama(msgspec.Struct):
    generation: str
    stop_reason: str | None = None
    prompt_token_count: int | None = None
    generation_token_count: int | None = None


class _MistralOutput(msgspec.Struct):
    text: str
    stop_reason: str | None = None


class _Mistral(msgspec.Struct):
    outputs: list[_MistralOutput]


class _CohereText(msgspec.Struct):
    text: str
    finish_reason: str | None = None


class _Cohere(msgspec.Struct):
    generations: list[_CohereText]


_TITAN = msgspec.json.Decoder(_Titan)
_LLAMA = msgspec.json.Decoder(_Llama)
_MISTRAL = msgspec.json.Decoder(_Mistral)
_COHERE = msgspec.json.Decoder(_Cohere)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    text: str
    reason: str | None
    usage: Usage = field(default_factory=Usage)


_Reader: TypeAlias = Callable[[bytes], _Said]


@dataclass(frozen=True, slots=True, kw_only=True)
class Texter:
    """How one family continues a text."""

    prompt: str
    names: Mapping[str, str]
    """OpenAI's names to its own; what is not here it does not have."""
    reader: _Reader
    inside: str | None = None
    """The object that holds the parameters; None when they stand beside the prompt."""

    def payload(self, prompt: str, wishes: Wishes) -> dict[str, JSON]:
        """The body of one call.

        Raises:
            UnsupportedParameter: The family has nothing for a parameter.
        """
        stops = wishes.stops() if "stop" in self.names else None
        most = wishes.max_tokens()
        found = wishes.carry(self.names)
        if most is not None:
            found[self.names["max_tokens"]] = most
        if stops is not None:
            found[self.names["stop"]] = stops
        wishes.end("this model on Bedrock")
        if self.inside is None:
            return {self.prompt: prompt, **found}
        return {self.prompt: prompt, self.inside: found} if found else {self.prompt: prompt}

    def answer(self, raw: bytes, model: str) -> Answer:
        """One answer in OpenAI's dialect.

        Raises:
            MalformedAnswer: It is none.
        """
        try:
            said = self.reader(raw)
        except IndexError as error:
            raise MalformedAnswer("an answer without a text") from error
        reason = _FINISH.get(said.reason, said.reason) if said.reason is not None else None
        body = dialect.text_body(said.text, finish_reason=reason, usage=said.usage, model=model)
        return Answer(raw=body, text=said.text, finish_reason=reason, usage=said.usage, model=model)


def texter_of(model: str) -> Texter | None:
    """How a model continues texts; None when it chats only."""
    return next((texter for name, texter in _TEXTERS.items() if name in model), None)


def _titan(raw: bytes) -> _Said:
    answer = decoded(_TITAN, raw, "an answer of Titan's")
    result = answer.results[0]
    usage = Usage(input_tokens=answer.inputTextTokenCount, output_tokens=result.tokenCount)
    return _Said(text=result.outputText, reason=result.completionReason, usage=usage)


def _llama(raw: bytes) -> _Said:
    answer = decoded(_LLAMA, raw, "an answer of Llama's")
    usage = Usage(
        input_tokens=answer.prompt_token_count, output_tokens=answer.generation_token_count
    )
    return _Said(text=answer.generation, reason=answer.stop_reason, usage=usage)


def _mistral(raw: bytes) -> _Said:
    output = decoded(_MISTRAL, raw, "an answer of Mistral's").outputs[0]
    return _Said(text=output.text, reason=output.stop_reason)


def _cohere(raw: bytes) -> _Said:
    output = decoded(_COHERE, raw, "an answer of Cohere's").generations[0]
    return _Said(text=output.text, reason=output.finish_reason)


_LLAMAS = Texter(
    prompt="prompt",
    names={"temperature": "temperature", "top_p": "top_p", "max_tokens": "max_gen_len"},
    reader=_llama,
)
_MISTRALS = Texter(
    prompt="prompt",
    names={
        "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "stop": "stop",
        "max_tokens": "max_tokens",
    },
    reader=_mistral,
)  # fmt: skip
_COHERES = Texter(
    prompt="prompt",
    names={
        "temperature": "temperature", "top_p": "p", "top_k": "k", "stop": "stop_sequences",
        "max_tokens": "max_tokens",
    },
    reader=_cohere,
)  # fmt: skip
_TEXTERS: Mapping[str, Texter] = {
    "amazon.titan-text": Texter(
        prompt="inputText",
        names={
            "temperature": "temperature", "top_p": "topP", "stop": "stopSequences",
            "max_tokens": "maxTokenCount",
        },
        reader=_titan,
        inside="textGenerationConfig",
    ),
    "meta.llama": _LLAMAS,
    "mistral.mistral-7b": _MISTRALS,
    "mistral.mixtral": _MISTRALS,
    "cohere.command-text": _COHERES,
    "cohere.command-light-text": _COHERES,
}  # fmt: skip
"""By a part of the model's name, which inference profiles and addresses hold too."""
