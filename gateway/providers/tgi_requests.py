"""Requests in OpenAI's dialect as huggingface_hub's client has them for TGI."""

from collections.abc import Mapping
from typing import Any

from gateway.errors import InvalidRequest, UnsupportedParameter
from gateway.types import JSON, JSONObject

CHAT = {
    "max_tokens": "max_tokens", "max_completion_tokens": "max_tokens", "seed": "seed",
    "stop": "stop", "temperature": "temperature", "top_p": "top_p",
    "frequency_penalty": "frequency_penalty", "logprobs": "logprobs",
    "top_logprobs": "top_logprobs", "tools": "tools", "tool_choice": "tool_choice",
    "response_format": "response_format",
}  # fmt: skip
"""OpenAI's names to those of `chat_completion`; what is not here, TGI bends or ignores."""
GENERATE = {
    "max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens", "seed": "seed",
    "stop": "stop", "temperature": "temperature", "top_p": "top_p", "top_k": "top_k",
    "frequency_penalty": "frequency_penalty", "repetition_penalty": "repetition_penalty",
    "typical_p": "typical_p", "truncate": "truncate", "watermark": "watermark",
    "response_format": "grammar", "grammar": "grammar", "adapter_id": "adapter_id",
}  # fmt: skip
"""OpenAI's and TGI's names to those of `text_generation`."""
_ENVELOPE = frozenset({"messages", "prompt", "model", "stream", "stream_options", "user"})
_NEUTRAL: Mapping[str, JSON] = {
    "n": 1, "best_of": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0,
    "logit_bias": {}, "echo": False, "logprobs": False, "tools": [],
}  # fmt: skip
"""Values that ask for nothing: leaving the parameter out honours them exactly."""
_SAMPLING = ("temperature", "top_p", "top_k", "typical_p")


def arguments(body: JSONObject, names: Mapping[str, str]) -> dict[str, Any]:
    """The request's parameters under the client's names.

    Raises:
        UnsupportedParameter: TGI would ignore or bend one.
    """
    found: dict[str, Any] = {}
    for name, value in body.items():
        if name in _ENVELOPE or value is None:
            continue
        if name in _NEUTRAL and value == _NEUTRAL[name]:
            continue
        if name not in names:
            raise UnsupportedParameter(name, "Text Generation Inference has no equivalent")
        own = _valued(name, value)
        if own is not None and found.setdefault(names[name], own) != own:
            raise UnsupportedParameter(name, f"it contradicts another `{names[name]}`")
    return found


def greedy(found: dict[str, Any]) -> dict[str, Any]:
    """Temperature 0 as TGI's native route wants it: no sampling at all."""
    if found.get("temperature") == 0:
        return {k: v for k, v in found.items() if k not in _SAMPLING} | {"do_sample": False}
    return found


def _valued(name: str, value: JSON) -> JSON:
    match name, value:
        case "stop", str():
            return [value]
        case "stop", list() if all(isinstance(stop, str) for stop in value):
            return value
        case "stop", _:
            raise InvalidRequest("`stop` must be a text or a list of texts", code="stop")
        case "response_format", Mapping():
            return _grammar(value)
        case _:
            return value


def _grammar(wanted: JSONObject) -> JSON:
    """OpenAI's response format as TGI's grammar, which holds the model to it as strictly."""
    match wanted:
        case {"type": "text"}:
            return None
        case {"type": "json_schema", "json_schema": {"schema": Mapping() as schema}}:
            return {"type": "json", "value": schema}
        case {"type": "json" | "json_object" | "regex" | "json_schema", "value": _}:
            return wanted  # TGI's own form.
        case _:
            reason = "Text Generation Inference needs a schema to hold an answer to"
            raise UnsupportedParameter("response_format", reason)
