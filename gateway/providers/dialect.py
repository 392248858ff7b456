"""OpenAI's dialect, the form in which every provider answers: read it, and write it."""

import time
import uuid
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from gateway.errors import MalformedAnswer
from gateway.http.failures import event_failure
from gateway.types import JSON, Answer, JSONObject, Usage

Head: TypeAlias = dict[str, object]
"""What all chunks of a stream have in common."""


class _Message(msgspec.Struct):
    content: str | list[msgspec.Raw] | None = None
    refusal: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek's word for the cached tokens."""
    reasoning_tokens: int | None = None
    """Where Perplexity puts them."""


class _Body(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    model: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


class _Vector(msgspec.Struct):
    embedding: msgspec.Raw


class _Embeddings(msgspec.Struct):
    data: list[_Vector]
    usage: _Usage | None = None
    model: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_BODY = msgspec.json.Decoder(_Body)
_EMBEDDINGS = msgspec.json.Decoder(_Embeddings)
_CHUNK = msgspec.json.Decoder(_Chunk)
_NO_ERROR = (b"", b"null")
_FINISH = {
    "stop_sequence": "stop", "eos_token": "stop", "eos": "stop",
    "max_tokens": "length", "model_length": "length",
}  # fmt: skip
"""Other people's finish reasons in OpenAI's words."""


def chat_answer(raw: bytes) -> Answer:
    """Read a chat completion.

    Raises:
        MalformedAnswer: It is none: no JSON, or no choice with a message.
        GatewayError: A 200 that carries an error.
    """
    body = _body(raw)
    choice = _first(body, raw)
    if choice.message is None:
        raise MalformedAnswer(f"a choice without a message: {_excerpt(raw)}")
    message = choice.message
    if choice.finish_reason in _FINISH or isinstance(message.content, list):
        raw = _plain(raw, "message")
    silent = message.content is None and not message.tool_calls and message.refusal is None
    # Reasoning models cut at the limit say null; anything else has to say something.
    if silent and choice.finish_reason not in {"length", "content_filter"}:
        raise MalformedAnswer(f"a message without content: {_excerpt(raw)}")
    return _answer(raw, body, choice, _text(message.content), message.refusal)


def text_answer(raw: bytes) -> Answer:
    """Read a text completion; errors as in `chat_answer`."""
    body = _body(raw)
    choice = _first(body, raw)
    if choice.text is None:
        raise MalformedAnswer(f"a choice without text: {_excerpt(raw)}")
    if choice.finish_reason in _FINISH:
        raw = _plain(raw, "message")
    return _answer(raw, body, choice, choice.text, None)


def embeddings_answer(raw: bytes) -> Answer:
    """Read a list of embeddings; errors as in `chat_answer`."""
    try:
        body = _EMBEDDINGS.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise_error_inside(raw)
        raise MalformedAnswer(f"not a list of embeddings ({error}): {_excerpt(raw)}") from error
    return Answer(raw=raw, usage=_usage(body.usage), model=body.model)


def raise_error_inside(raw: bytes) -> None:
    """Raise the error that a 200 carries instead of an answer; nothing when it carries none."""
    try:
        parsed: Any = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if isinstance(parsed, dict) and parsed.get("error"):
        raise event_failure(raw)


def checked_chunk(event: bytes) -> bytes:
    """An event of a stream, unless it is an error or no JSON."""
    try:
        chunk = _CHUNK.decode(event)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(f"an event that is no chunk ({error}): {_excerpt(event)}") from error
    if bytes(chunk.error) not in _NO_ERROR:
        raise event_failure(event)
    if chunk.choices is None:
        raise MalformedAnswer(f"an event without choices: {_excerpt(event)}")
    return event


def plain_chunk(chunk: bytes, reason: bytes | None) -> bytes:
    """A chunk with a finish reason, or with content in parts, in OpenAI's own words."""
    known = reason is not None and reason.decode() not in _FINISH
    return chunk if known else _plain(chunk, "delta")


def finish_word(reason: str | None) -> str | None:
    """A finish reason in OpenAI's words where there is one for it."""
    return _FINISH.get(reason, reason) if reason is not None else None


def tool_call(call_id: str, name: str, arguments: str) -> dict[str, JSON]:
    """One call of a tool; `arguments` is JSON in a string, as OpenAI has it."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def made_up_call_id() -> str:
    """For the calls of vendors that give them no ids."""
    return f"call_{uuid.uuid4().hex[:24]}"


def chat_body(choices: Sequence[JSON], *, usage: Usage, model: str | None) -> bytes:
    """Write a chat completion."""
    return _written("chat.completion", "chatcmpl", choices, usage, model)


def chat_choice(
    text: str | None,
    *,
    finish_reason: str | None,
    index: int = 0,
    tool_calls: Sequence[JSONObject] = (),
    refusal: str | None = None,
    reasoning: str | None = None,
    logprobs: JSONObject | None = None,
) -> dict[str, JSON]:
    """One answer of a chat completion."""
    message: dict[str, JSON] = {
        "role": "assistant",
        "content": text,
        "tool_calls": list(tool_calls) or None,
        "refusal": refusal,
    }
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    choice: dict[str, JSON] = {"index": index, "message": message, "finish_reason": finish_reason}
    return choice if logprobs is None else choice | {"logprobs": logprobs}


def text_body(text: str, *, finish_reason: str | None, usage: Usage, model: str | None) -> bytes:
    """Write a text completion."""
    choice: JSON = {"index": 0, "text": text, "finish_reason": finish_reason, "logprobs": None}
    return _written("text_completion", "cmpl", [choice], usage, model)


def embeddings_body(
    vectors: Sequence[Sequence[float] | str], *, usage: Usage, model: str | None
) -> bytes:
    """Write a list of embeddings, each as numbers or as base64."""
    items = [
        {"object": "embedding", "embedding": vector, "index": index}
        for index, vector in enumerate(vectors)
    ]
    counts = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
    return msgspec.json.encode({"object": "list", "data": items, "model": model, "usage": counts})


class ChunkWriter:
    """Writes the chunks of one stream: same id, time and model in all of them."""

    def __init__(
        self, *, chat: bool, model: str | None, index: int = 0, head: Head | None = None
    ) -> None:
        self._chat = chat
        kind, prefix = (
            ("chat.completion.chunk", "chatcmpl") if chat else ("text_completion", "cmpl")
        )
        self._head = head or _head(kind, prefix, model)
        self._index = index
        self._begun = False

    def of_choice(self, index: int) -> "ChunkWriter":
        """Writes another of several answers in the same stream."""
        return ChunkWriter(chat=self._chat, model=None, index=index, head=self._head)

    def piece(self, text: str | None, *, finish_reason: str | None = None) -> bytes:
        """A piece of text, or the end (text None)."""
        choice: dict[str, object] = {"index": self._index, "finish_reason": finish_reason}
        if self._chat:
            role = {} if self._begun else {"role": "assistant"}
            choice["delta"] = role | ({"content": text} if text is not None else {})
        else:
            choice["text"] = text or ""
        self._begun = True
        return msgspec.json.encode(self._head | {"choices": [choice], "usage": None})

    def tool_call(
        self,
        index: int,
        *,
        call_id: str | None = None,
        name: str | None = None,
        arguments: str = "",
        extra: JSONObject | None = None,
    ) -> bytes:
        """A piece of the `index`th tool call (from 0): its id and name first, then arguments."""
        call: dict[str, object] = {"index": index}
        function: dict[str, object] = {"arguments": arguments}
        if call_id is not None:
            call |= {"id": call_id, "type": "function"}
        if name is not None:
            function["name"] = name
        if extra is not None:
            call["extra_content"] = extra
        return self._delta({"tool_calls": [call | {"function": function}]})

    def reasoning(self, text: str) -> bytes:
        """A piece of what the model thinks before it answers."""
        return self._delta({"reasoning_content": text})

    def refusal(self, text: str) -> bytes:
        """A piece of the model's words for why it does not answer."""
        return self._delta({"refusal": text})

    def _delta(self, delta: dict[str, object]) -> bytes:
        role = {} if self._begun else {"role": "assistant", "content": None}
        self._begun = True
        choice = {"index": self._index, "delta": role | delta, "finish_reason": None}
        return msgspec.json.encode(self._head | {"choices": [choice], "usage": None})

    def usage(self, usage: Usage) -> bytes:
        """The chunk after the last, with the token counts."""
        return msgspec.json.encode(self._head | {"choices": [], "usage": _counts(usage)})


def _body(raw: bytes) -> _Body:
    try:
        body = _BODY.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(f"not an answer ({error}): {_excerpt(raw)}") from error
    if bytes(body.error) not in _NO_ERROR:
        raise event_failure(raw)
    return body


def _first(body: _Body, raw: bytes) -> _Choice:
    if not body.choices:
        raise MalformedAnswer(f"an answer without choices: {_excerpt(raw)}")
    return body.choices[0]


def _answer(raw: bytes, body: _Body, choice: _Choice, text: str, refusal: str | None) -> Answer:
    return Answer(
        raw=raw,
        text=text,
        finish_reason=finish_word(choice.finish_reason),
        refusal=refusal or None,
        usage=_usage(body.usage),
        model=body.model,
    )


def _usage(usage: _Usage | None) -> Usage:
    if usage is None:
        return Usage()
    cached = usage.prompt_cache_hit_tokens
    if (heard := usage.prompt_tokens_details) is not None and heard.cached_tokens is not None:
        cached = heard.cached_tokens
    thought = usage.reasoning_tokens
    if (said := usage.completion_tokens_details) is not None and said.reasoning_tokens is not None:
        thought = said.reasoning_tokens
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=_said(usage, thought),
        cached_input_tokens=cached,
        reasoning_tokens=thought,
    )


def _text(content: str | list[msgspec.Raw] | None) -> str:
    if isinstance(content, list):  # Content parts; some vendors answer in them.
        return _texts([msgspec.json.decode(part) for part in content])
    return content or ""


def _said(usage: _Usage, thought: int | None) -> int | None:
    """All output tokens; xAI counts its reasoning beside the completion, and so does the sum."""
    heard, said, total = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
    if heard is None or said is None or not thought or total != heard + said + thought:
        return said
    return said + thought


def _plain(raw: bytes, part: str) -> bytes:
    """Finish reasons translated, and content in parts as one text, its thinking beside it."""
    body: dict[str, Any] = msgspec.json.decode(raw)
    for choice in body["choices"]:
        choice["finish_reason"] = finish_word(choice.get("finish_reason"))
        said = choice.get(part)
        if isinstance(said, dict) and isinstance(parts := said.get("content"), list):
            said["content"] = _texts(parts)
            if thoughts := "".join(_thought(p) for p in parts if isinstance(p, dict)):
                said["reasoning_content"] = thoughts
    return msgspec.json.encode(body)


def _thought(part: dict[str, Any]) -> str:
    """What a part of content tells of the model's reasoning, as Mistral and Databricks word it."""
    inner = part.get("thinking") or part.get("summary")
    return _texts(inner) if isinstance(inner, list) else ""


def _texts(parts: list[Any]) -> str:
    """The texts of parts; what is none says nothing."""
    found = (part.get("text") for part in parts if isinstance(part, dict))
    return "".join(text for text in found if isinstance(text, str))


def _counts(usage: Usage) -> dict[str, JSON]:
    known = usage.input_tokens is not None and usage.output_tokens is not None
    total = (usage.input_tokens or 0) + (usage.output_tokens or 0) if known else None
    counts: dict[str, JSON] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": total,
    }
    if usage.cached_input_tokens is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": usage.cached_input_tokens}
    if usage.reasoning_tokens is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return counts


def _written(
    kind: str, prefix: str, choices: Sequence[JSON], usage: Usage, model: str | None
) -> bytes:
    return msgspec.json.encode(
        _head(kind, prefix, model) | {"choices": choices, "usage": _counts(usage)}
    )


def _head(kind: str, prefix: str, model: str | None) -> Head:
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def _excerpt(raw: bytes) -> str:
    return raw[:200].decode("utf-8", "replace")
