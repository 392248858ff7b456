"""Gemini's answers, streams, embeddings and errors, read into OpenAI's dialect."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import NoReturn

import msgspec

from gateway.errors import (
    AccessDenied,
    ContentRefused,
    GatewayError,
    MalformedAnswer,
    QuotaExhausted,
    UnsupportedParameter,
)
from gateway.http import failure_of
from gateway.providers import dialect, gemini_logprobs
from gateway.providers.gemini_logprobs import LogProbabilities
from gateway.providers.judged import Spoken, decoded
from gateway.types import JSON, Answer, Usage

_FINISH = {
    "STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter",
    "RECITATION": "content_filter", "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter", "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter", "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter", "MODEL_ARMOR": "content_filter",
}  # fmt: skip
_NO_ANSWER = frozenset(
    {
        "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE",
        "TOO_MANY_TOOL_CALLS", "UNEXPECTED_TOOL_CALL",
    }
)  # fmt: skip
"""Reasons with which the model ends without having said anything that could be used."""
_TOO_MANY = 429


class _Call(msgspec.Struct):
    name: str
    args: msgspec.Raw = msgspec.Raw(b"{}")
    id: str = ""


class _Part(msgspec.Struct):
    text: str = ""
    thought: bool = False
    functionCall: _Call | None = None  # noqa: N815 - Google's name
    thoughtSignature: str | None = None  # noqa: N815


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct):
    content: _Content | None = None
    finishReason: str | None = None  # noqa: N815
    finishMessage: str | None = None  # noqa: N815
    index: int = 0
    logprobsResult: LogProbabilities | None = None  # noqa: N815


class _Feedback(msgspec.Struct):
    blockReason: str | None = None  # noqa: N815
    blockReasonMessage: str | None = None  # noqa: N815


class Counts(msgspec.Struct):
    """Tokens, in Google's words."""

    promptTokenCount: int | None = None  # noqa: N815
    candidatesTokenCount: int | None = None  # noqa: N815
    thoughtsTokenCount: int | None = None  # noqa: N815
    toolUsePromptTokenCount: int | None = None  # noqa: N815
    cachedContentTokenCount: int | None = None  # noqa: N815

    def usage(self) -> Usage:
        """Google counts thoughts beside the answer, and leaves out what is zero."""
        heard = self.promptTokenCount
        if heard is not None:
            heard += self.toolUsePromptTokenCount or 0
        said = self.candidatesTokenCount
        if said is not None or self.thoughtsTokenCount is not None:
            said = (said or 0) + (self.thoughtsTokenCount or 0)
        return Usage(
            input_tokens=heard,
            output_tokens=said,
            cached_input_tokens=self.cachedContentTokenCount,
            reasoning_tokens=self.thoughtsTokenCount,
        )


class _Answer(msgspec.Struct):
    candidates: list[_Candidate] | None = None
    promptFeedback: _Feedback | None = None  # noqa: N815
    usageMetadata: Counts | None = None  # noqa: N815
    modelVersion: str | None = None  # noqa: N815
    error: msgspec.Raw = msgspec.Raw(b"")


class _Statistics(msgspec.Struct):
    token_count: float | None = None


class _Vector(msgspec.Struct):
    values: list[float]
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct):
    embeddings: _Vector


class _Embeddings(msgspec.Struct):
    embeddings: list[_Vector] | None = None
    predictions: list[_Prediction] | None = None
    usageMetadata: Counts | None = None  # noqa: N815


class _Violation(msgspec.Struct):
    quotaId: str = ""  # noqa: N815


class _Detail(msgspec.Struct):
    reason: str = ""
    retryDelay: str = ""  # noqa: N815
    violations: list[_Violation] = msgspec.field(default_factory=list[_Violation])


class _Error(msgspec.Struct):
    message: str = ""
    status: str | None = None
    code: int | None = None
    details: list[_Detail] = msgspec.field(default_factory=list[_Detail])


class _Failure(msgspec.Struct):
    error: _Error


_ANSWER = msgspec.json.Decoder(_Answer)
_EMBEDDINGS = msgspec.json.Decoder(_Embeddings)
_FAILURE = msgspec.json.Decoder(_Failure | list[_Failure])


def read_answer(raw: bytes, *, n: int = 1, logprobs: bool = False) -> Answer:
    """A whole answer, or several.

    Args:
        raw: The body.
        n: How many were asked for.
        logprobs: Whether log probabilities were.

    Raises:
        MalformedAnswer: It is none.
        ContentRefused: The prompt was blocked.
        UnsupportedParameter: The model did not do what was asked for.
    """
    answer = _decoded(raw)
    candidates = _candidates(answer, raw)
    if not candidates or any(one.finishReason is None for one in candidates):
        raise MalformedAnswer(f"an answer without an end: {raw[:200].decode('utf-8', 'replace')}")
    check_number(len(candidates), n)
    first, *others = [_spoken(answer, one, logprobs=logprobs) for one in candidates]
    return first.answer(*others)


def check_number(given: int, n: int) -> None:
    """Refuse another number of answers than was asked for: some models give one, whatever is."""
    if given != n:
        raise UnsupportedParameter("n", f"this model gave {given} instead of {n} answers")


def _spoken(answer: _Answer, candidate: _Candidate, *, logprobs: bool) -> Spoken:
    parts, counts = _parts(candidate), answer.usageMetadata or Counts()
    calls = [_tool_call(part, part.functionCall) for part in parts if part.functionCall is not None]
    texts = [part.text for part in parts if not part.thought and part.functionCall is None]
    thoughts = "".join(part.text for part in parts if part.thought)
    text, thought = "".join(texts), bool(thoughts or counts.thoughtsTokenCount)
    told = candidate.logprobsResult
    return Spoken(
        text=text if texts or not calls else None,
        finish_reason=_finish(candidate, called=bool(calls)),
        usage=counts.usage(),
        model=answer.modelVersion,
        tool_calls=calls,
        reasoning=thoughts or None,
        logprobs=gemini_logprobs.read(told, text, thought=thought) if logprobs else None,
    )


def read_embeddings(raw: bytes) -> tuple[list[list[float]], Usage]:
    """Vectors in the order of the texts, and what was read.

    Raises:
        MalformedAnswer: They are none.
    """
    body = decoded(_EMBEDDINGS, raw, "embeddings of Google's")
    found = body.embeddings
    if found is None and body.predictions is not None:
        found = [prediction.embeddings for prediction in body.predictions]
    if found is None:
        raise MalformedAnswer(f"not embeddings: {raw[:200].decode('utf-8', 'replace')}")
    counts = [v.statistics.token_count for v in found if v.statistics is not None]
    heard = int(sum(c or 0 for c in counts)) if counts else None
    usage = body.usageMetadata.usage() if body.usageMetadata else Usage(input_tokens=heard)
    return [vector.values for vector in found], usage


class Reading:
    """One stream, as far as it has come."""

    def __init__(self) -> None:
        self._writer: dialect.ChunkWriter | None = None
        self._counts = Counts()
        self._told: dict[int, _Telling] = {}

    @property
    def finished(self) -> bool:
        """Whether every answer that began has ended."""
        return bool(self._told) and all(one.finished for one in self._told.values())

    @property
    def answers(self) -> int:
        """How many began."""
        return len(self._told)

    def chunks(self, event: bytes) -> Iterator[bytes]:
        """What an event comes to: chunks in order.

        Raises:
            GatewayError: The event reports one.
            ContentRefused: The prompt was blocked.
            MalformedAnswer: It is no event.
        """
        answer = _decoded(event)
        writer = self._writer = self._writer or dialect.ChunkWriter(
            chat=True, model=answer.modelVersion
        )
        self._counts = answer.usageMetadata or self._counts
        for candidate in _candidates(answer, event):
            telling = self._told.get(candidate.index)
            if telling is None:
                of_it = writer.of_choice(candidate.index)
                telling = self._told[candidate.index] = _Telling(of_it)
            yield from telling.chunks(candidate)

    def usage(self) -> bytes:
        """The last chunk, with the counts."""
        writer = self._writer or dialect.ChunkWriter(chat=True, model=None)
        return writer.usage(self._counts.usage())


class _Telling:
    """One of the answers of a stream."""

    def __init__(self, writer: dialect.ChunkWriter) -> None:
        self._writer = writer
        self._calls = 0
        self.finished = False

    def chunks(self, candidate: _Candidate) -> Iterator[bytes]:
        for part in _parts(candidate):
            yield from self._part(part)
        if candidate.finishReason is not None:
            reason = _finish(candidate, called=self._calls > 0)
            self.finished = True
            yield self._writer.piece(None, finish_reason=reason)

    def _part(self, part: _Part) -> Iterator[bytes]:
        if part.functionCall is not None:
            yield self._writer.tool_call(
                self._calls,
                call_id=part.functionCall.id or dialect.made_up_call_id(),
                name=part.functionCall.name,
                arguments=bytes(part.functionCall.args).decode("utf-8"),
                extra=_extra(part),
            )
            self._calls += 1
        elif part.thought:
            yield self._writer.reasoning(part.text)
        elif part.text:
            yield self._writer.piece(part.text)


def failure(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """What one of Google's errors means."""
    try:
        parsed = _FAILURE.decode(body)
        inner = (parsed[0] if isinstance(parsed, list) else parsed).error
    except (msgspec.DecodeError, UnicodeDecodeError, IndexError):
        return failure_of(status, headers, body)
    plain = msgspec.json.encode({"error": {"message": inner.message, "code": inner.status}})
    error = failure_of(status, headers, plain)
    if error.retry_after is None:
        error.retry_after = _patience(inner.details)
    if any(detail.reason == "API_KEY_INVALID" for detail in inner.details):  # A 400, by its status.
        return AccessDenied(error.message, status=status, code="API_KEY_INVALID")
    used_up = (v.quotaId for detail in inner.details for v in detail.violations)
    if status == _TOO_MANY and any("PerDay" in quota for quota in used_up):
        return QuotaExhausted(error.message, status=status, code=error.code)
    return error


def _patience(details: list[_Detail]) -> timedelta | None:
    """A duration in Google's notation: seconds, with an `s` behind them."""
    for detail in details:
        try:
            return timedelta(seconds=float(detail.retryDelay.removesuffix("s")))
        except ValueError:
            continue
    return None


def _decoded(raw: bytes) -> _Answer:
    answer = decoded(_ANSWER, raw, "an answer of Gemini's")
    if bytes(answer.error) not in {b"", b"null"}:
        _fail(raw)
    return answer


def _fail(raw: bytes) -> NoReturn:
    """Raise an error that arrived where an answer was due."""
    parsed = decoded(_FAILURE, raw, "an error of Google's")
    inner = parsed[0] if isinstance(parsed, list) else parsed
    raise failure(inner.error.code or 502, {}, raw)


def _candidates(answer: _Answer, raw: bytes) -> list[_Candidate]:
    feedback = answer.promptFeedback
    if feedback is not None and feedback.blockReason is not None:
        why = feedback.blockReasonMessage or "the prompt was blocked"
        raise ContentRefused(f"{why} ({feedback.blockReason})", code=feedback.blockReason)
    if not answer.candidates and answer.usageMetadata is None:
        excerpt = raw[:200].decode("utf-8", "replace")
        raise MalformedAnswer(f"an answer without candidates: {excerpt}")
    return answer.candidates or []


def _parts(candidate: _Candidate) -> list[_Part]:
    return (candidate.content.parts if candidate.content is not None else None) or []


def _finish(candidate: _Candidate, *, called: bool) -> str | None:
    reason = candidate.finishReason
    if reason in _NO_ANSWER:
        raise MalformedAnswer(f"{reason}: {candidate.finishMessage or 'no word of explanation'}")
    if reason == "STOP" and called:
        return "tool_calls"
    return _FINISH.get(reason, reason) if reason is not None else None


def _tool_call(part: _Part, call: _Call) -> dict[str, JSON]:
    arguments = bytes(call.args).decode("utf-8")
    written = dialect.tool_call(call.id or dialect.made_up_call_id(), call.name, arguments)
    extra = _extra(part)
    return written | ({"extra_content": extra} if extra is not None else {})


def _extra(part: _Part) -> dict[str, JSON] | None:
    """The sealed thought, where Google's own server for OpenAI's clients puts it."""
    if part.thoughtSignature is None:
        return None
    return {"google": {"thought_signature": part.thoughtSignature}}
