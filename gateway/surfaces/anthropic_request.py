"""Anthropic's Messages API, the way in: a request, translated to chat.

What chat cannot do (thinking on a budget, server tools, documents) is refused by name.
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from gateway.errors import InvalidRequest
from gateway.types import JSON

_SAME = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_sequences": "stop",
}
"""Parameters that chat has, and under which name."""
_TRANSLATED = frozenset(
    {
        "messages", "system", "tools", "tool_choice", "metadata", "stream", "thinking",
        "output_config", "output_format", "service_tier", "cache_control",
    }
)  # fmt: skip


def to_chat(body: Mapping[str, JSON]) -> dict[str, JSON]:
    """The chat request that asks the same.

    Raises:
        InvalidRequest: Something in it cannot be asked by chat; names the parameter.
    """
    given = {key: value for key, value in body.items() if value is not None}
    _check(given)
    chat: dict[str, JSON] = {"messages": _messages(given)}
    chat |= {theirs: given[name] for name, theirs in _SAME.items() if name in given}
    chat |= _tools(given)
    user = _dict(given.get("metadata") or {}, "metadata").get("user_id")
    if user is not None:
        chat["user"] = user
    form = given.get("output_format") or _dict(given.get("output_config") or {}, "output_config")
    return chat | _format(_dict(form, "output_config"))


def _check(given: Mapping[str, JSON]) -> None:
    for name in given:
        if name not in _SAME and name not in _TRANSLATED:
            raise _cannot(name, "this endpoint answers by chat, which has nothing like it")
    if "max_tokens" not in given:
        raise InvalidRequest("max_tokens: Field required", code="max_tokens")
    if _dict(given.get("thinking") or {}, "thinking").get("type", "disabled") != "disabled":
        raise _cannot("thinking", "chat has no thinking on a budget; leave it out")
    if given.get("service_tier", "auto") not in {"auto", "standard_only"}:
        raise _cannot("service_tier", "this endpoint has one tier")


def _messages(given: Mapping[str, JSON]) -> list[JSON]:
    messages: list[dict[str, Any]] = []
    if "system" in given:
        messages.append({"role": "system", "content": _text_of(given["system"], "system")})
    for index, message in enumerate(_list(given.get("messages"), "messages")):
        place = f"messages.{index}"
        found = _dict(message, place)
        content, role = found.get("content"), found.get("role")
        if isinstance(content, str):
            messages.append({"role": role, "content": content})
        elif role == "assistant":
            messages.append(_from_assistant(_list(content, f"{place}.content"), place))
        else:
            messages += _from_user(_list(content, f"{place}.content"), place, role)
    return cast("list[JSON]", messages)


def _from_assistant(blocks: list[JSON], place: str) -> dict[str, Any]:
    text: list[str] = []
    calls: list[JSON] = []
    for index, block in enumerate(blocks):
        where = f"{place}.content.{index}"
        found = _dict(block, where)
        match found.get("type"):
            case "text":
                text.append(_str(found.get("text"), f"{where}.text"))
            case "tool_use":
                calls.append(_call(found))
            case "thinking" | "redacted_thinking":
                continue  # Chat takes no one's earlier thoughts.
            case kind:
                raise _cannot(where, f"an assistant's `{kind}` has no place in chat")
    message: dict[str, Any] = {"role": "assistant", "content": "".join(text) or None}
    return message | ({"tool_calls": calls} if calls else {})


def _from_user(blocks: list[JSON], place: str, role: object) -> list[dict[str, Any]]:
    """Results of tools first, each a message of its own, as chat wants them; then the rest."""
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for index, block in enumerate(blocks):
        where = f"{place}.content.{index}"
        found = _dict(block, where)
        if found.get("type") == "tool_result":
            results.append(
                {
                    "role": "tool",
                    "tool_call_id": found.get("tool_use_id"),
                    "content": _text_of(found.get("content") or "", where),
                }
            )
        else:
            parts.append(_part(found, where))
    if not parts:
        return results
    if all(part["type"] == "text" for part in parts):
        # Not every vendor takes parts, and text needs none.
        return [*results, {"role": role, "content": "".join(part["text"] for part in parts)}]
    return [*results, {"role": role, "content": parts}]


def _part(block: dict[str, Any], place: str) -> dict[str, Any]:
    if block.get("type") == "text":
        return {"type": "text", "text": _str(block.get("text"), f"{place}.text")}
    source = block.get("source")
    if block.get("type") == "image" and isinstance(source, dict):
        if source.get("type") == "url":
            return {"type": "image_url", "image_url": {"url": source.get("url")}}
        if source.get("type") == "base64":
            url = f"data:{source.get('media_type')};base64,{source.get('data')}"
            return {"type": "image_url", "image_url": {"url": url}}
    raise _cannot(place, f"a `{block.get('type')}` cannot be sent by chat as it is given")


def _call(block: dict[str, Any]) -> JSON:
    arguments = msgspec.json.encode(block.get("input") or {}).decode()
    function: JSON = {"name": block.get("name"), "arguments": arguments}
    return {"id": block.get("id"), "type": "function", "function": function}


def _tools(given: Mapping[str, JSON]) -> dict[str, JSON]:
    if not given.get("tools"):
        return {}
    chat: dict[str, JSON] = {
        "tools": [
            _tool(_dict(tool, f"tools.{index}"), f"tools.{index}")
            for index, tool in enumerate(_list(given["tools"], "tools"))
        ]
    }
    choice = _dict(given.get("tool_choice") or {"type": "auto"}, "tool_choice")
    if choice.get("disable_parallel_tool_use"):
        chat["parallel_tool_calls"] = False
    match choice.get("type"):
        case "auto":
            return chat
        case "any":
            return chat | {"tool_choice": "required"}
        case "none":
            return chat | {"tool_choice": "none"}
        case "tool":
            chosen: JSON = {"type": "function", "function": {"name": choice.get("name")}}
            return chat | {"tool_choice": chosen}
        case kind:
            raise _cannot("tool_choice.type", f"there is no `{kind}`")


def _tool(tool: dict[str, Any], place: str) -> JSON:
    if tool.get("type", "custom") != "custom":
        raise _cannot(place, f"the server tool `{tool.get('type')}` is not part of chat")
    function = {"name": tool.get("name"), "parameters": tool.get("input_schema")}
    if tool.get("description") is not None:
        function["description"] = tool["description"]
    if tool.get("strict") is not None:
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}


def _format(given: dict[str, Any]) -> dict[str, JSON]:
    form = given.get("format", given)
    chat: dict[str, JSON] = {}
    if given.get("effort") is not None:
        chat["reasoning_effort"] = given["effort"]
    if isinstance(form, dict) and form.get("type") == "json_schema":
        schema: JSON = {"name": "output", "schema": form.get("schema"), "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    return chat


def _text_of(content: JSON, place: str) -> str:
    """A text, or the texts of a list of blocks."""
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for index, block in enumerate(_list(content, place)):
        found = _dict(block, f"{place}.{index}")
        if found.get("type") != "text":
            raise _cannot(f"{place}.{index}", "only text can stand here in chat")
        texts.append(_str(found.get("text"), f"{place}.{index}.text"))
    return "".join(texts)


def _cannot(name: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {why}", code=name)


def _dict(value: JSON, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequest(f"{place}: Input should be a valid dictionary", code=place)
    return value


def _list(value: JSON, place: str) -> list[JSON]:
    if not isinstance(value, list):
        raise InvalidRequest(f"{place}: Input should be a valid list", code=place)
    return value


def _str(value: JSON, place: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{place}: Input should be a valid string", code=place)
    return value
