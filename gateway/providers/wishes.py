"""A request's parameters, taken one by one: what nobody took at the end is refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from gateway.errors import InvalidRequest, UnsupportedParameter
from gateway.types import JSON, JSONObject

_ENVELOPE = frozenset({"messages", "prompt", "input", "model", "stream", "stream_options", "user"})
"""Not parameters. `user` names a person to the vendor and changes no answer."""
_NEUTRAL: dict[str, JSON] = {
    "n": 1, "best_of": 1, "presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {},
    "logprobs": False, "top_logprobs": 0, "echo": False, "store": False, "tools": [],
    "parallel_tool_calls": True, "modalities": ["text"], "service_tier": "auto",
    "encoding_format": "float",
}  # fmt: skip
"""Values that ask for nothing: leaving the parameter out honours them exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the model may call."""

    name: str
    description: str | None
    schema: JSONObject
    """JSON Schema of its arguments."""
    strict: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """Whether and what the model is to call."""

    kind: Literal["auto", "none", "required", "named"]
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonFormat:
    """The answer is to be JSON; with a schema, JSON of that shape."""

    schema: JSONObject | None = None
    name: str | None = None
    description: str | None = None


class Wishes:
    """Everything a request asks of the model besides its messages."""

    def __init__(self, body: JSONObject) -> None:
        self._left = {k: v for k, v in body.items() if k not in _ENVELOPE and v is not None}

    def take(self, name: str) -> JSON:
        """The value given for `name`; None when there is none."""
        return self._left.pop(name, None)

    def carry(self, names: Mapping[str, str]) -> dict[str, JSON]:
        """The parameters that a vendor has under other names, under those."""
        return {ours: self._left.pop(name) for name, ours in names.items() if name in self._left}

    def take_number(self, name: str, *, low: float, high: float, vendor: str) -> float | None:
        """A number that `vendor` honours between two bounds only.

        Raises:
            UnsupportedParameter: It lies outside.
        """
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidRequest(f"`{name}` must be a number", code=name)
        if not low <= value <= high:
            raise UnsupportedParameter(
                name, f"{vendor} takes {low:g} to {high:g}, not {str(value)[:20]}"
            )
        return value

    def max_tokens(self) -> JSON:
        """The most tokens to answer with, under either of OpenAI's names."""
        old, new = self.take("max_tokens"), self.take("max_completion_tokens")
        if old is not None and new is not None and old != new:
            raise InvalidRequest("`max_tokens` and `max_completion_tokens` contradict each other")
        return new if new is not None else old

    def effort(self, known: frozenset[str], vendor: str) -> str | None:
        """How hard the model is to think, where `vendor` has OpenAI's word for it.

        Raises:
            UnsupportedParameter: It has not.
        """
        value = self.take("reasoning_effort")
        if value is None or (isinstance(value, str) and value in known):
            return value
        words = ", ".join(sorted(known))
        raise UnsupportedParameter("reasoning_effort", f"{vendor} takes {words}, not {value}")

    def stops(self) -> list[JSON] | None:
        """Stop sequences as a list."""
        match self.take("stop"):
            case str() as stop:
                return [stop]
            case None | []:
                return None
            case list() as stops if all(isinstance(stop, str) for stop in stops):
                return stops
            case _:
                raise InvalidRequest("`stop` must be a text or a list of texts", code="stop")

    def tools(self) -> tuple[Tool, ...]:
        """The tools on offer."""
        given = self.take("tools") or []
        if not isinstance(given, list):
            raise InvalidRequest("`tools` must be a list", code="tools")
        return tuple(map(_tool, given))

    def tool_choice(self) -> ToolChoice | None:
        """Whether and what to call; None when it is left to the vendor."""
        match self.take("tool_choice"):
            case None:
                return None
            case "auto" | "none" | "required" as kind:
                return ToolChoice(kind=kind)
            case {"type": "function", "function": {"name": str(name)}}:
                return ToolChoice(kind="named", name=name)
            case other:
                raise UnsupportedParameter("tool_choice", f"{str(other)[:100]} has no equivalent")

    def json_format(self, *, schema_only: str | None = None) -> JsonFormat | None:
        """The shape of the answer; None when it is to be text.

        Args:
            schema_only: A vendor that has no JSON mode without a schema.
        """
        match self.take("response_format"):
            case None | {"type": "text"}:
                return None
            case {"type": "json_object"} if schema_only is not None:
                what = f"{schema_only} answers in JSON by a schema only (`json_schema`)"
                raise UnsupportedParameter("response_format", what)
            case {"type": "json_object"}:
                return JsonFormat()
            case {"type": "json_schema", "json_schema": {"schema": dict(schema), **more}}:
                name, description = more.get("name"), more.get("description")
                return JsonFormat(
                    schema=cast("JSONObject", schema),
                    name=name if isinstance(name, str) else None,
                    description=description if isinstance(description, str) else None,
                )
            case other:
                what = f"{str(other)[:100]} has no equivalent"
                raise UnsupportedParameter("response_format", what)

    def end(self, vendor: str) -> None:
        """Refuse what is left.

        Raises:
            UnsupportedParameter: `vendor` has nothing for a parameter that was given.
        """
        for name, value in self._left.items():
            if name not in _NEUTRAL or value != _NEUTRAL[name]:
                raise UnsupportedParameter(name, f"{vendor} has no equivalent")


def _tool(tool: JSON) -> Tool:
    match tool:
        case {"type": "function", "function": {"name": str(name), **more}}:
            schema, text = more.get("parameters"), more.get("description")
            return Tool(
                name=name,
                description=text if isinstance(text, str) and text else None,
                schema=cast("JSONObject", schema)
                if isinstance(schema, dict)
                else {"type": "object", "properties": {}},
                strict=more.get("strict") is True,
            )
        case _:
            raise UnsupportedParameter("tools", f"{str(tool)[:100]} is no function")
