"""The model that is none: says back what it was told. `echo` speaks it, and `chaos` serves it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

from gateway.errors import InvalidRequest, UnsupportedParameter
from gateway.types import JSONObject, Usage

_PIECE = re.compile(r"\s*\S{1,4}|\s+")
"""A token of this model: up to four characters, with the blanks before them."""
_UNDERSTOOD = frozenset(
    {
        "messages", "prompt", "input", "model", "stream", "stream_options", "max_tokens",
        "max_completion_tokens", "stop", "n", "temperature", "top_p", "seed", "user",
        "presence_penalty", "frequency_penalty",
    }
)  # fmt: skip
"""What has a meaning here: a model without chance honours every temperature and seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """An answer in pieces, one per token."""

    pieces: tuple[str, ...]
    finish_reason: str
    usage: Usage

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)


def speak(body: JSONObject, *, reply: str | None) -> Spoken:
    """Answer with `reply`, or with the last user message or prompt.

    Raises:
        InvalidRequest: There is nothing to answer to.
        UnsupportedParameter: A parameter that this model does not understand.
    """
    refuse_unknown(body, _UNDERSTOOD)
    if body.get("n") not in (None, 1):
        raise UnsupportedParameter("n", "this provider gives one answer")
    prompt = prompt_of(body)
    text = _until_stop(prompt if reply is None else reply, body.get("stop"))
    pieces = tokens(text)
    limit = _limit(body)
    cut = limit is not None and len(pieces) > limit
    said = tuple(pieces[:limit])
    usage = Usage(input_tokens=_heard(body), output_tokens=len(said))
    return Spoken(pieces=said, finish_reason="length" if cut else "stop", usage=usage)


def _limit(body: JSONObject) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit = body.get(name)
        if limit is None:
            continue
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise InvalidRequest(f"`{name}` must be a whole number above 0", code=name)
        return limit
    return None


def refuse_unknown(body: JSONObject, understood: Iterable[str]) -> None:
    """Refuse the first parameter that is given and not understood."""
    for name in body.keys() - set(understood):
        if body[name] is not None:
            raise UnsupportedParameter(name, "this provider does not know it")


def prompt_of(body: JSONObject) -> str:
    """The last user message, or the prompt."""
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return prompt
    for message in reversed(messages_of(body)):
        if message.get("role") == "user":
            return content_text(message)
    raise InvalidRequest("there is no user message to answer")


def messages_of(body: JSONObject) -> list[JSONObject]:
    """The messages of a chat request."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("`messages` must be a list of at least one message")
    if not all(isinstance(message, dict) for message in messages):
        raise InvalidRequest("every message must be an object with `role` and `content`")
    return cast("list[JSONObject]", messages)


def content_text(message: JSONObject) -> str:
    """The text of one message.

    Raises:
        UnsupportedParameter: It has none, or holds more than text.
    """
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [p.get("text") for p in content if isinstance(p, dict) and p.get("type") == "text"]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            return "".join(cast("list[str]", texts))
    raise UnsupportedParameter("messages", "this provider takes text only")


def wants_usage(body: JSONObject) -> bool:
    """Whether a stream is to end with the token counts."""
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def tokens(text: str) -> list[str]:
    """`text` in pieces; together they are `text` again."""
    return _PIECE.findall(text)


def vector(text: str) -> list[float]:
    """A made-up embedding: 8 numbers in [-1, 1) that depend on `text` alone."""
    digest = sha256(text.encode("utf-8")).digest()
    return [int.from_bytes(digest[i : i + 4], "big") / 2**31 - 1 for i in range(0, 32, 4)]


def _until_stop(text: str, stop: object) -> str:
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list | tuple) else []
    places = [text.find(word) for word in stops if isinstance(word, str) and word]
    return text[: min((place for place in places if place >= 0), default=len(text))]


def _heard(body: JSONObject) -> int:
    return sum(len(tokens(text)) for text in _texts(body))


def _texts(body: JSONObject) -> Iterator[str]:
    if isinstance(prompt := body.get("prompt"), str):
        yield prompt
    else:
        yield from map(content_text, messages_of(body))
