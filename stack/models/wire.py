"""Requests of TGI's native and messages API as they arrive, and what they ask of the runtime."""

import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from stack.models.errors import ValidationError
from stack.models.generation import Sampling

MAX_STOP_SEQUENCES = 4
MAX_TOP_N_TOKENS = 5
MAX_BEST_OF = 1
_LARGEST_PENALTY = 2.0


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=False)


class Grammar(_Wire):
    """How the text must be formed."""

    type: Literal["json", "json_object", "json_schema", "regex"]
    value: Any = None


class Parameters(_Wire):
    """Parameters of the native API; null everywhere means unset."""

    best_of: int | None = None
    temperature: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None
    do_sample: bool = False
    max_new_tokens: int | None = Field(default=None, ge=0)
    return_full_text: bool | None = None
    stop: list[str] = []
    truncate: int | None = Field(default=None, ge=0)
    watermark: bool = False
    details: bool = False
    decoder_input_details: bool = False
    seed: int | None = Field(default=None, ge=0)
    top_n_tokens: int | None = Field(default=None, ge=0)
    grammar: Grammar | None = None
    adapter_id: str | None = None


class GenerateRequest(_Wire):
    """Body of `/generate` and `/generate_stream`."""

    inputs: str
    # Left out altogether, TGI samples; this is its doing, not a choice of ours.
    parameters: Parameters = Field(default_factory=lambda: Parameters(do_sample=True))


class CompatRequest(GenerateRequest):
    """Body of `/`."""

    stream: bool = False


class TokenizeRequest(_Wire):
    """Body of `/tokenize`."""

    inputs: str


class StreamOptions(_Wire):
    """What a stream carries besides text."""

    include_usage: bool = False


class ChatMessage(_Wire):
    """One message of a conversation."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None


class _OpenAiParameters(_Wire):
    model: str | None = None
    max_tokens: Annotated[
        int | None,
        Field(ge=0, validation_alias=AliasChoices("max_tokens", "max_completion_tokens")),
    ] = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = Field(default=None, ge=0)
    stop: list[str] | str | None = None
    frequency_penalty: float | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None

    def stops(self) -> list[str]:
        """The stop sequences as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


class ChatRequest(_OpenAiParameters):
    """Body of `/v1/chat/completions` and `/chat_tokenize`."""

    messages: list[ChatMessage]
    presence_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0)
    tools: list[dict[str, Any]] | None = None
    response_format: Grammar | None = None


class CompletionRequest(_OpenAiParameters):
    """Body of `/v1/completions`."""

    prompt: str | list[str]
    suffix: str | None = None
    repetition_penalty: float | None = None


def native_sampling(parameters: Parameters) -> Sampling:
    """Check native parameters and say how to sample.

    Raises:
        ValidationError: A value is out of range, or asks for what is not served here.
    """
    _check_ranges(parameters)
    sampled = parameters.do_sample or any(
        value is not None
        for value in (
            parameters.temperature,
            parameters.top_k,
            parameters.top_p,
            parameters.typical_p,
        )
    )
    return Sampling(
        temperature=(parameters.temperature or 1.0) if sampled else 0.0,
        top_k=parameters.top_k,
        top_p=parameters.top_p,
        typical_p=parameters.typical_p,
        repetition_penalty=parameters.repetition_penalty,
        frequency_penalty=parameters.frequency_penalty,
        seed=_seed(parameters.seed, sampled=sampled),
        stop=tuple(parameters.stop),
        top_n=parameters.top_n_tokens or 0,
        json_schema=_json_schema(parameters.grammar),
    )


def chat_sampling(request: ChatRequest) -> Sampling:
    """Check the messages API's parameters and say how to sample.

    Raises:
        ValidationError: A value is out of range, or asks for what is not served here.
    """
    if request.tools:
        raise ValidationError("tools are not served by this model server", kind="tool_error")
    if not request.messages:
        raise ValidationError("`messages` must hold at least one message")
    penalty = request.presence_penalty
    return _openai_sampling(
        request,
        repetition_penalty=None if penalty is None else penalty + 2.0,
        top_n=request.top_logprobs or 0 if request.logprobs else 0,
        json_schema=_json_schema(request.response_format),
    )


def completion_sampling(request: CompletionRequest) -> Sampling:
    """Check the completions API's parameters and say how to sample.

    Raises:
        ValidationError: A value is out of range, or asks for what is not served here.
    """
    if request.suffix is not None:
        raise ValidationError("Suffix is not supported and can be achieved by preprocessing")
    return _openai_sampling(request, repetition_penalty=request.repetition_penalty)


def _openai_sampling(
    request: _OpenAiParameters,
    *,
    repetition_penalty: float | None,
    top_n: int = 0,
    json_schema: Mapping[str, object] | None = None,
) -> Sampling:
    # Unlike the native API, a temperature of 0 means greedy here.
    sampled = request.temperature != 0 and (
        request.temperature is not None or request.top_p is not None
    )
    _check_ranges(
        Parameters(
            temperature=request.temperature or None,
            top_p=request.top_p,
            stop=request.stops(),
            repetition_penalty=repetition_penalty,
            frequency_penalty=request.frequency_penalty,
            top_n_tokens=top_n,
        )
    )
    return Sampling(
        temperature=(request.temperature or 1.0) if sampled else 0.0,
        top_p=request.top_p if sampled else None,
        repetition_penalty=repetition_penalty,
        frequency_penalty=request.frequency_penalty,
        seed=_seed(request.seed, sampled=sampled),
        stop=tuple(request.stops()),
        top_n=top_n,
        json_schema=json_schema,
    )


def _check_ranges(parameters: Parameters) -> None:
    p = parameters
    rules = (
        (p.best_of is None or 0 < p.best_of <= MAX_BEST_OF,
         f"`best_of` must be > 0 and <= {MAX_BEST_OF}. Given: {p.best_of}"),
        (p.temperature is None or p.temperature > 0, "`temperature` must be strictly positive"),
        (p.repetition_penalty is None or p.repetition_penalty > 0,
         "`repetition_penalty` must be strictly positive"),
        (p.frequency_penalty is None or abs(p.frequency_penalty) <= _LARGEST_PENALTY,
         "`frequency_penalty` must be >= -2.0 and <= 2.0"),
        (p.top_p is None or 0 < p.top_p <= 1, "`top_p` must be > 0.0 and <= 1.0"),
        (p.typical_p is None or 0 < p.typical_p <= 1, "`typical_p` must be > 0.0 and <= 1.0"),
        (p.top_k is None or p.top_k > 0, "`top_k` must be strictly positive"),
        (p.max_new_tokens is None or p.max_new_tokens > 0,
         "`max_new_tokens` must be strictly positive"),
        (len(p.stop) <= MAX_STOP_SEQUENCES,
         f"`stop` supports up to {MAX_STOP_SEQUENCES} stop sequences. Given: {len(p.stop)}"),
        ((p.top_n_tokens or 0) <= MAX_TOP_N_TOKENS,
         f"`top_n_tokens` must be >= 0 and <= {MAX_TOP_N_TOKENS}. Given: {p.top_n_tokens}"),
        (p.adapter_id is None, "adapters are not served by this model server"),
        (not p.watermark, "watermarks are not served by this model server"),
    )  # fmt: skip
    for holds, message in rules:
        if not holds:
            raise ValidationError(message)


def _json_schema(grammar: Grammar | None) -> Mapping[str, object] | None:
    if grammar is None:
        return None
    value = grammar.value
    match grammar.type:
        case "regex":
            raise ValidationError("grammars of type `regex` are not served by this model server")
        case "json_schema" if isinstance(value, dict) and isinstance(value.get("schema"), dict):
            value = value["schema"]
        case "json_object" if value is None:
            value = {"type": "object"}
        case _:
            pass
    if not isinstance(value, dict):
        raise ValidationError("the grammar's `value` must be a JSON schema")
    return value


def _seed(given: int | None, *, sampled: bool) -> int | None:
    """TGI reports a seed for sampled text only, drawn when none was given."""
    if not sampled:
        return given
    return secrets.randbits(32) if given is None else given
