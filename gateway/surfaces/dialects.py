"""MLflow's two dialects on one path: which one a request speaks, and how each is answered."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from gateway.config import Endpoint
from gateway.errors import InvalidRequest
from gateway.surfaces.exchange import encode
from gateway.types import JSON, Answer, EndpointType

_OLD_CLIENT = re.compile(r"mlflow-python-client/2\.[5-8]\.")
_NEW_CLIENT = re.compile(r"mlflow-python-client/")
_OLD_FIELDS = frozenset({"candidate_count", "text"})
_NEW_FIELDS = frozenset(
    {
        "n", "input", "stream", "stream_options", "max_completion_tokens", "tools", "tool_choice",
        "response_format", "frequency_penalty", "presence_penalty",
    }
)  # fmt: skip

_SUBJECT: Mapping[EndpointType, tuple[str, tuple[type, ...], str]] = {
    EndpointType.CHAT: ("messages", (list,), "a valid list"),
    EndpointType.COMPLETIONS: ("prompt", (str,), "a valid string"),
    EndpointType.EMBEDDINGS: ("input", (str, list), "a valid string or list"),
}
"""What each kind of request must hold, and how the original words its absence."""


class Dialect(StrEnum):
    """What the answer looks like."""

    CANDIDATES = "candidates"  #: MLflow 2.5 to 2.8.
    CHOICES = "choices"  #: MLflow 2.9 and later, which is OpenAI's.
    BOTH = "both"  #: Both in one body: each generation's clients read their own half.


class Unprocessable(InvalidRequest):
    """A request that MLflow's own gateway refuses with 422."""

    def __init__(self, detail: JSON) -> None:
        super().__init__(detail if isinstance(detail, str) else str(detail), status=422)
        self.detail = detail


def dialect_of(endpoint: Endpoint, *, user_agent: str, body: dict[str, JSON]) -> Dialect:
    """By user agent, then by fields only one generation has, then by the endpoint's declaration.

    An endpoint declared under `routes:` has served clients of both generations, so that without
    another sign both are answered.
    """
    if _OLD_CLIENT.search(user_agent):
        return Dialect.CANDIDATES
    if _NEW_CLIENT.search(user_agent):
        return Dialect.CHOICES
    if _OLD_FIELDS & body.keys():
        return Dialect.CANDIDATES
    if _NEW_FIELDS & body.keys() or endpoint.declared_as == "endpoints":
        return Dialect.CHOICES
    return Dialect.BOTH


def asked(kind: EndpointType, dialect: Dialect, body: dict[str, JSON]) -> dict[str, JSON]:
    """The request in OpenAI's words; null means "not given".

    Raises:
        Unprocessable: MLflow's gateway of that generation would not take it.
    """
    if body.get("model") is not None:
        raise Unprocessable(
            "The parameter 'model' is not permitted to be passed. The route being queried already"
            " defines a model instance."
        )
    if dialect is Dialect.CANDIDATES:
        body = _from_candidates(kind, body)
    request: dict[str, JSON] = {
        key: value for key, value in body.items() if value is not None and key != "model"
    }
    _check_shape(kind, request)
    return request


def answered(kind: EndpointType, dialect: Dialect, answer: Answer) -> bytes:
    """The response body."""
    if dialect is Dialect.CHOICES:
        return answer.raw
    body: dict[str, Any] = msgspec.json.decode(answer.raw)
    old = _candidates(kind, body)
    return encode(old if dialect is Dialect.CANDIDATES else body | old)


def _from_candidates(kind: EndpointType, body: dict[str, JSON]) -> dict[str, JSON]:
    request = dict(body)
    if request.get("n") is not None:
        raise Unprocessable("Invalid parameter 'n'. Use 'candidate_count' instead.")
    if request.pop("stream", None):
        raise Unprocessable("Streaming is not part of this generation of the API.")
    if kind is EndpointType.EMBEDDINGS:
        request["input"] = request.pop("text", request.get("input"))
        return request
    count = request.pop("candidate_count", None)
    if count not in {None, 1}:
        request["n"] = count
    # That generation sends its default on: answers were greedy unless asked otherwise.
    if request.get("temperature") is None:
        request["temperature"] = 0.0
    return request


def _check_shape(kind: EndpointType, request: dict[str, JSON]) -> None:
    field, fits, words = _SUBJECT[kind]
    if field not in request:
        raise _fault("missing", field, "Field required", request)
    if not isinstance(request[field], fits):
        raise _fault("type_error", field, f"Input should be {words}", request[field])
    stop = request.get("stop")
    if stop is not None and not isinstance(stop, list):
        raise _fault("list_type", "stop", "Input should be a valid list", stop)


def _fault(kind: str, field: str, message: str, given: JSON) -> Unprocessable:
    return Unprocessable([{"type": kind, "loc": [field], "msg": message, "input": given}])


def _candidates(kind: EndpointType, body: dict[str, Any]) -> dict[str, Any]:
    usage = body.get("usage") or {}
    metadata = {
        "input_tokens": usage.get("prompt_tokens"),
        "output_tokens": usage.get("completion_tokens"),
        "total_tokens": usage.get("total_tokens"),
        "model": body.get("model"),
        "route_type": str(kind),
    }
    if kind is EndpointType.EMBEDDINGS:
        metadata["output_tokens"] = 0
        vectors = [item["embedding"] for item in body["data"]]
        return {"embeddings": vectors, "metadata": metadata}
    candidates = [_candidate(kind, choice) for choice in body["choices"]]
    return {"candidates": candidates, "metadata": metadata}


def _candidate(kind: EndpointType, choice: dict[str, Any]) -> dict[str, Any]:
    metadata = {"finish_reason": choice.get("finish_reason")}
    if kind is EndpointType.COMPLETIONS:
        return {"text": choice.get("text"), "metadata": metadata}
    message = choice["message"]
    plain = {"role": message.get("role", "assistant"), "content": message.get("content")}
    return {"message": plain, "metadata": metadata}
