"""A chat request's messages, read out of OpenAI's dialect: what vendors of other dialects are told.

Nothing is lost on the way: what has no place here is refused by name.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, TypeAlias, cast

import msgspec

from gateway.errors import InvalidRequest, UnsupportedParameter
from gateway.providers.parrot import messages_of
from gateway.types import JSON, JSONObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Words."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture: itself, or where it can be fetched."""

    url: str
    """As it was given: a data URL, or an address."""
    media_type: str | None = None
    """Known of a data URL only."""
    base64: str | None = None

    def inline(self, vendor: str) -> tuple[str, str]:
        """Media type and base64 of the picture itself.

        Raises:
            UnsupportedParameter: There is only an address, which `vendor` does not fetch.
        """
        if self.base64 is None or self.media_type is None:
            raise UnsupportedParameter("image_url", f"{vendor} takes images as data URLs only")
        return self.media_type, self.base64


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """What the model asked to have done, in an earlier turn."""

    id: str
    name: str
    arguments: JSONObject
    extra: JSONObject | None = None
    """`extra_content` as a vendor gave it, to be handed back to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What came of a tool call."""

    id: str
    name: str
    """Of the tool that was called."""
    content: tuple[Text | Image, ...]

    @property
    def text(self) -> str:
        """The whole result, of one made of text."""
        return "".join(part.text for part in self.content if isinstance(part, Text))


Part: TypeAlias = Text | Image | ToolCall | ToolResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message; results of tools are the user's."""

    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What was said so far."""

    system: tuple[str, ...]
    turns: tuple[Turn, ...]

    def alternating(self) -> tuple[Turn, ...]:
        """The turns, those that follow each other on one side as one."""
        return tuple(
            Turn(role=role, parts=tuple(part for turn in group for part in turn.parts))
            for role, group in groupby(self.turns, key=lambda turn: turn.role)
        )


_KEYS = {
    "user": {"role", "content"},
    "tool": {"role", "content", "tool_call_id", "name"},
    "assistant": {"role", "content", "refusal", "tool_calls"},
}
_OWN_EARLIER_WORDS = {"reasoning", "reasoning_content", "annotations", "audio", "function_call"}
"""What clients send back of an answer as they got it; empty, or of no use to the model."""
_EMPTY: tuple[object, ...] = (None, "", [], {})


def read(body: JSONObject) -> Conversation:
    """The messages of a chat request.

    Raises:
        InvalidRequest: They are no conversation.
        UnsupportedParameter: They hold what no turn of another dialect can carry.
    """
    messages = messages_of(body)
    first = next((i for i, m in enumerate(messages) if not _is_system(m)), len(messages))
    if any(map(_is_system, messages[first:])):
        raise UnsupportedParameter(
            "messages", "this vendor takes system messages before all others only"
        )
    system = tuple(_only_text(message) for message in messages[:first])
    turns = tuple(_turns(messages[first:]))
    if not turns:
        raise InvalidRequest("there is no message to answer")
    return Conversation(system=system, turns=turns)


def _is_system(message: JSONObject) -> bool:
    return message.get("role") in ("system", "developer")  # No set: it may be anything.


def _only_text(message: JSONObject) -> str:
    _refuse_keys(message, {"role", "content"}, "a system message")
    parts = list(_content(message.get("content")))
    if not all(isinstance(part, Text) for part in parts):
        raise UnsupportedParameter("messages", "a system message holds text only")
    return "".join(part.text for part in parts if isinstance(part, Text))


def _turns(messages: Iterable[JSONObject]) -> Iterator[Turn]:
    called: dict[str, str] = {}
    for message in messages:
        role = message.get("role")
        if not isinstance(role, str) or role not in _KEYS:
            raise UnsupportedParameter("messages", f"no role `{role}` is known here")
        ignored = _OWN_EARLIER_WORDS if role == "assistant" else set[str]()
        _refuse_keys(message, _KEYS[role] | ignored, f"a message of role `{role}`")
        match role:
            case "assistant":
                parts = tuple(_said(message))
                called |= {part.id: part.name for part in parts if isinstance(part, ToolCall)}
                yield Turn(role="assistant", parts=parts)
            case "tool":
                yield Turn(role="user", parts=(_result(message, called),))
            case _:
                yield Turn(role="user", parts=tuple(_content(message.get("content"))))


def _refuse_keys(given: Mapping[str, JSON], known: set[str], where: str) -> None:
    for key in sorted(given.keys() - known):
        if given[key] not in _EMPTY:
            raise UnsupportedParameter("messages", f"`{key}` in {where} has no equivalent here")


def _said(message: JSONObject) -> Iterator[Text | Image | ToolCall]:
    content = message.get("content")
    if content not in _EMPTY:
        yield from _content(content)
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        yield Text(text=refusal)
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise InvalidRequest("`tool_calls` must be a list")
    yield from map(_call, calls)


def _content(content: JSON) -> Iterator[Text | Image]:
    if isinstance(content, str):
        yield Text(text=content)
    elif isinstance(content, list):
        yield from map(_part, content)
    else:
        raise InvalidRequest("`content` of a message must be a text or a list of parts")


def _part(part: JSON) -> Text | Image:
    match part:
        case {"type": "text", "text": str(text), **rest} | {
            "type": "refusal", "refusal": str(text), **rest
        } if not rest:  # fmt: skip
            return Text(text=text)
        case {"type": "image_url", "image_url": {"url": str(url), **more}, **rest} if not rest:
            return _image(url, cast("dict[str, JSON]", more))
        case {"type": "text" | "refusal" | "image_url" as kind, **rest}:
            what = ", ".join(f"`{key}`" for key in rest)
            raise UnsupportedParameter("messages", f"not all of {what} in a part of type `{kind}`")
        case {"type": kind}:
            raise UnsupportedParameter("messages", f"no part of type `{kind}` can be sent here")
        case _:
            raise InvalidRequest("a part of `content` must be an object with a `type`")


def _image(url: str, more: dict[str, JSON]) -> Image:
    for key, value in more.items():
        if (key, value) != ("detail", "auto") and value is not None:
            raise UnsupportedParameter("image_url", f"`{key}: {value}` has no equivalent here")
    if not url.startswith("data:"):
        return Image(url=url)
    head, comma, base64 = url.removeprefix("data:").partition(",")
    media_type, *marks = head.split(";")
    if not comma or "base64" not in marks or not media_type:
        raise InvalidRequest("a data URL must read `data:<media type>;base64,<data>`")
    return Image(url=url, media_type=media_type, base64=base64)


def _call(call: JSON) -> ToolCall:
    match call:
        case {
            "id": str(call_id),
            "function": {"name": str(name), "arguments": str(arguments)},
            **rest,
        }:
            if rest.get("type", "function") != "function":
                raise UnsupportedParameter("tool_calls", f"no calls of type `{rest['type']}`")
            extra = rest.get("extra_content")
            given = cast("JSONObject | None", extra if isinstance(extra, dict) else None)
            return ToolCall(id=call_id, name=name, arguments=_object(arguments), extra=given)
        case _:
            raise InvalidRequest("a tool call needs `id`, `function.name` and `.arguments`")


def _object(arguments: str) -> JSONObject:
    try:
        decoded: JSONObject = msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"`arguments` of a tool call are no JSON object: {error}") from error
    return decoded


def _result(message: JSONObject, called: Mapping[str, str]) -> ToolResult:
    call_id = message.get("tool_call_id")
    if not isinstance(call_id, str) or call_id not in called:
        raise InvalidRequest(f"a tool result answers no earlier call: `tool_call_id` {call_id!r}")
    content = tuple(_content(message.get("content")))
    return ToolResult(id=call_id, name=called[call_id], content=content)
