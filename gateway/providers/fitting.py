"""A request fitted to one server's habits: renamed where the meaning stays, else refused."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from gateway.config import Endpoint, Habits
from gateway.errors import UnsupportedParameter
from gateway.types import JSON, JSONObject

Fit: TypeAlias = Callable[[JSONObject], dict[str, JSON]]

_NEUTRAL: Mapping[str, JSON] = {
    "n": 1, "best_of": 1, "logit_bias": {}, "echo": False, "logprobs": False, "top_logprobs": 0,
    "presence_penalty": 0, "frequency_penalty": 0, "tool_choice": "auto", "tools": [], "stop": [],
    "parallel_tool_calls": True,
}  # fmt: skip
"""Values that ask for nothing: leaving the parameter out honours them exactly."""


def fitting(endpoint: Endpoint, habits: Habits) -> Fit:
    """How bodies for `endpoint` are fitted; it raises `UnsupportedParameter`."""
    refused = habits.refused | _refused_by(habits, endpoint.model or "")
    renamed = dict(habits.renamed)
    if isinstance(tokens := endpoint.options.get("token_parameter"), str):
        renamed = {k: v for k, v in renamed.items() if not k.startswith("max_")}
        renamed |= {k: tokens for k in ("max_tokens", "max_completion_tokens") if k != tokens}
    vendor = endpoint.provider

    def fit(body: JSONObject) -> dict[str, JSON]:
        fitted = {k: v for k, v in body.items() if k not in habits.unsaid}
        for name in [name for name in fitted if name in refused]:
            _leave_out(fitted, name, vendor)
        for name in renamed.keys() & fitted.keys():
            _rename(fitted, name, renamed[name])
        for name, value in habits.added.items():
            _add(fitted, name, value)
        return fitted

    return fit


def _refused_by(habits: Habits, model: str) -> frozenset[str]:
    found = (names for start, names in habits.refused_by_model.items() if model.startswith(start))
    return frozenset().union(*found)


def _leave_out(body: dict[str, JSON], name: str, vendor: str) -> None:
    value = body.pop(name)
    if value is not None and not (name in _NEUTRAL and value == _NEUTRAL[name]):
        raise UnsupportedParameter(name, f"`{vendor}` would ignore it")


def _rename(body: dict[str, JSON], name: str, own: str) -> None:
    value = body.pop(name)
    if own in body and body[own] != value:
        raise UnsupportedParameter(name, f"it differs from `{own}`, and there is one limit only")
    body[own] = value


def _add(body: dict[str, JSON], name: str, value: JSON) -> None:
    given = body.get(name)
    if isinstance(given, Mapping) and isinstance(value, Mapping):
        body[name] = {**value, **given}
    elif given is None:
        body[name] = value
