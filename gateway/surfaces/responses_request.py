"""OpenAI's Responses API, the way in: a request, translated to chat for the common subset.

What chat cannot do (stored conversations, built-in tools, background work) is refused by name.
"""

from collections.abc import Mapping
from typing import Any, cast

from gateway.errors import InvalidRequest
from gateway.types import JSON

_SAME = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_output_tokens": "max_completion_tokens",
    "parallel_tool_calls": "parallel_tool_calls",
    "user": "user",
}
"""Parameters that chat has, and under which name."""
_ANSWERED = frozenset(
    {
        "input", "instructions", "tools", "tool_choice", "text", "reasoning", "stream", "metadata",
        "store", "include", "truncation", "background", "service_tier", "stream_options",
        "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
    }
)  # fmt: skip
"""Parameters that are translated below, or that change nothing here."""
_NOTHING_TO_INCLUDE = frozenset({"reasoning.encrypted_content"})
"""Of what may be asked to be included: what a model that only chats never has."""


def to_chat(body: Mapping[str, JSON]) -> dict[str, JSON]:
    """The chat request that asks the same.

    Raises:
        InvalidRequest: Something in it cannot be asked by chat; names the parameter.
    """
    given = {key: value for key, value in body.items() if value is not None}
    _refuse_unknown(given)
    chat: dict[str, JSON] = {"messages": _messages(given)}
    for name, theirs in _SAME.items():
        if name in given:
            chat[theirs] = given[name]
    if given.get("tools"):
        chat["tools"] = [_tool(i, tool) for i, tool in enumerate(_list(given["tools"], "tools"))]
        if "tool_choice" in given:
            chat["tool_choice"] = _tool_choice(given["tool_choice"])
    chat |= _text(given.get("text"))
    chat |= _reasoning(given.get("reasoning"))
    return chat


def _refuse_unknown(given: Mapping[str, JSON]) -> None:
    for name, value in given.items():
        known = name in _SAME or name in _ANSWERED
        if not known:
            raise _cannot(name, "this endpoint answers by chat, and it has no place there")
        if name == "background" and value:
            raise _cannot(name, "answers are not kept here; leave it out")
        if name == "truncation" and value != "disabled":
            raise _cannot(name, "nothing is cut off silently here; send `disabled`")
        if name == "service_tier" and value not in {"auto", "default"}:
            raise _cannot(name, "this endpoint has one tier")
        if name == "include" and (more := {*map(str, _list(value, name))} - _NOTHING_TO_INCLUDE):
            raise _cannot(name, f"chat has no {', '.join(sorted(more))}")


def _messages(given: Mapping[str, JSON]) -> list[JSON]:
    messages: list[dict[str, Any]] = []
    if "instructions" in given:
        text = _str(given["instructions"], "instructions")
        messages.append({"role": "system", "content": text})
    asked = given.get("input")
    if isinstance(asked, str):
        messages.append({"role": "user", "content": asked})
        return cast("list[JSON]", messages)
    if not isinstance(asked, list):
        raise InvalidRequest("`input` must be a text or a list of items", code="input")
    for index, item in enumerate(asked):
        _add(messages, _dict(item, f"input[{index}]"), f"input[{index}]")
    return cast("list[JSON]", messages)


def _add(messages: list[dict[str, Any]], item: dict[str, Any], place: str) -> None:
    match item.get("type", "message"):
        case "message":
            role = item.get("role")
            # `developer` is OpenAI's newer word for what every vendor calls `system`.
            role = "system" if role == "developer" else role
            messages.append({"role": role, "content": _content(item.get("content"), place)})
        case "function_call":
            call = {"name": item.get("name"), "arguments": item.get("arguments") or "{}"}
            _calling(messages).append(
                {"id": item.get("call_id"), "type": "function", "function": call}
            )
        case "function_call_output":
            content = _content(item.get("output"), place)
            messages.append(
                {"role": "tool", "tool_call_id": item.get("call_id"), "content": content}
            )
        case "reasoning":
            return  # Chat takes no one's earlier thoughts.
        case kind:
            raise _cannot(f"{place}.type", f"chat has no `{kind}`")


def _calling(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tool calls of the assistant's message that is being put together."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    calls: list[dict[str, Any]] = messages[-1].setdefault("tool_calls", [])
    return calls


def _content(content: JSON, place: str) -> JSON:
    if isinstance(content, str):
        return content
    parts = [
        _part(_dict(part, f"{place}.content[{index}]"), f"{place}.content[{index}]")
        for index, part in enumerate(_list(content, f"{place}.content"))
    ]
    if all(part["type"] == "text" for part in parts):
        # Not every vendor takes parts, and text needs none.
        return "".join(part["text"] for part in parts)
    return cast("JSON", parts)


def _part(part: dict[str, Any], place: str) -> dict[str, Any]:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": _str(part.get("text"), f"{place}.text")}
        case "refusal":
            return {"type": "text", "text": _str(part.get("refusal"), f"{place}.refusal")}
        case "input_image" if isinstance(part.get("image_url"), str):
            image = {"url": part["image_url"]}
            if part.get("detail"):
                image["detail"] = part["detail"]
            return {"type": "image_url", "image_url": image}
        case "input_audio":
            return {"type": "input_audio", "input_audio": part.get("input_audio")}
        case kind:
            raise _cannot(f"{place}.type", f"`{kind}` cannot be sent by chat as it is given")


def _tool(index: int, tool: JSON) -> JSON:
    given = _dict(tool, f"tools[{index}]")
    if given.get("type") != "function":
        raise _cannot(f"tools[{index}].type", "only tools of type `function` can be called by chat")
    names = ("name", "description", "parameters", "strict")
    return {
        "type": "function",
        "function": {name: given[name] for name in names if given.get(name) is not None},
    }


def _tool_choice(choice: JSON) -> JSON:
    if isinstance(choice, str):
        return choice
    given = _dict(choice, "tool_choice")
    if given.get("type") != "function":
        raise _cannot("tool_choice", "only a function can be chosen")
    return {"type": "function", "function": {"name": given.get("name")}}


def _text(text: JSON) -> dict[str, JSON]:
    chat: dict[str, JSON] = {}
    given = _dict(text or {}, "text")
    if given.get("verbosity") is not None:
        chat["verbosity"] = given["verbosity"]
    form = _dict(given.get("format") or {"type": "text"}, "text.format")
    if form.get("type") == "json_schema":
        names = ("name", "description", "schema", "strict")
        schema = {name: form[name] for name in names if form.get(name) is not None}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form.get("type") == "json_object":
        chat["response_format"] = {"type": "json_object"}
    return chat


def _reasoning(reasoning: JSON) -> dict[str, JSON]:
    given = _dict(reasoning or {}, "reasoning")
    for name in ("summary", "generate_summary"):
        if given.get(name) is not None:
            raise _cannot(f"reasoning.{name}", "chat gives no summary of its thoughts")
    effort = given.get("effort")
    return {"reasoning_effort": effort} if effort is not None else {}


def _cannot(name: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"`{name}` cannot be honoured: {why}", code=name)


def _dict(value: JSON, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequest(f"`{place}` must be an object", code=place)
    return value


def _list(value: JSON, place: str) -> list[JSON]:
    if not isinstance(value, list):
        raise InvalidRequest(f"`{place}` must be a list", code=place)
    return value


def _str(value: JSON, place: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"`{place}` must be a text", code=place)
    return value
