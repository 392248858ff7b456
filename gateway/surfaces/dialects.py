"""MLflow's two dialects on one path: which one a request speaks, and how each is answered."""

import re
from enum import StrEnum
from typing import Any, Literal

import msgspec

from gateway.surfaces.exchange import encode
from gateway.surfaces.mlflow_requests import Unprocessable, check_request
from gateway.types import JSON, Answer, EndpointType

_OLD_CLIENT = re.compile(r"mlflow-python-client/2\.[5-8]\.")
_NEW_CLIENT = re.compile(r"mlflow-python-client/")
_SOMEBODYS_PROXY = re.compile(r"python-requests/")
"""`mlflow server` of either generation, asking for its Prompt Engineering page."""
_OLD_FIELDS = frozenset({"candidate_count", "text"})
_NEW_FIELDS = frozenset(
    {
        "n", "input", "stream", "stream_options", "max_completion_tokens", "tools", "tool_choice",
        "response_format", "frequency_penalty", "presence_penalty",
    }
)  # fmt: skip


class Dialect(StrEnum):
    """What the answer looks like."""

    CANDIDATES = "candidates"  #: MLflow 2.5 to 2.8.
    CHOICES = "choices"  #: MLflow 2.9 and later, which is OpenAI's.
    BOTH = "both"  #: Both in one body: each generation's clients read their own half.


def dialect_of(
    declared_as: Literal["routes", "endpoints"],
    *,
    user_agent: str,
    body: dict[str, JSON],
    prefix: str = "gateway",
) -> Dialect:
    """By user agent, then by fields only one generation has, then by the endpoint's declaration.

    The prefix `endpoints` came with the new generation. LangChain's classes of 2023 send old
    fields by a client of any age, and read only `candidates`. An endpoint declared under
    `routes:` has served clients of both generations, and `mlflow server` hides which it is.
    """
    speaks_old = bool(_OLD_FIELDS & body.keys())
    if prefix != "endpoints" and _OLD_CLIENT.search(user_agent):
        return Dialect.CANDIDATES
    if prefix == "endpoints" or _NEW_CLIENT.search(user_agent):
        return Dialect.BOTH if speaks_old else Dialect.CHOICES
    if speaks_old:
        return Dialect.CANDIDATES
    hidden = declared_as == "routes" or _SOMEBODYS_PROXY.search(user_agent)
    return Dialect.BOTH if hidden and not _NEW_FIELDS & body.keys() else Dialect.CHOICES


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
    given: dict[str, JSON] = {key: value for key, value in body.items() if value is not None}
    old = dialect is Dialect.CANDIDATES or bool(_OLD_FIELDS & given.keys())
    if old and "n" in given:
        raise Unprocessable("Invalid parameter 'n'. Use 'candidate_count' instead.")
    check_request(kind, given, old=old)
    return _from_candidates(kind, given) if old else given


def answered(kind: EndpointType, dialect: Dialect, answer: Answer) -> bytes:
    """The response body."""
    if dialect is Dialect.CHOICES:
        return answer.raw
    body: dict[str, Any] = msgspec.json.decode(answer.raw)
    old = _candidates(kind, body)
    return encode(old if dialect is Dialect.CANDIDATES else body | old)


def _from_candidates(kind: EndpointType, request: dict[str, JSON]) -> dict[str, JSON]:
    if request.pop("stream", None):
        raise Unprocessable("Streaming is not part of this generation of the API.")
    if kind is EndpointType.EMBEDDINGS:
        request["input"] = request.pop("text")
        return request
    count = request.pop("candidate_count", None)
    if count not in (None, 1):
        request["n"] = count
    # That generation sends its default on: answers were greedy unless asked otherwise.
    request.setdefault("temperature", 0.0)
    return request


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
    plain = {"role": message.get("role", "assistant"), "content": message.get("content") or ""}
    return {"message": plain, "metadata": metadata}
