"""The OpenAPI document of the surfaces: every endpoint by its name, with a request to try."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config import Catalog
from gateway.types import JSON, EndpointType

TAG = "models"
"""Under which the operations stand."""
_FAILURE = {
    "description": "A failure, in the words of the interface that was spoken.",
    "content": {"application/json": {"schema": {"type": "object"}}},
}
_QUESTION: list[JSON] = [{"role": "user", "content": "What colour is an apple?"}]
_SCHEMAS: Mapping[str, dict[str, Any]] = {
    "messages": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "required": ["role"],
            "properties": {"role": {"type": "string"}, "content": {}},
        },
    },
    "prompt": {"type": "string"},
    "input": {},
    "text": {},
    "model": {"type": "string", "description": "The name of an endpoint."},
    "temperature": {"type": "number"},
    "max_tokens": {"type": "integer", "minimum": 1},
    "candidate_count": {"type": "integer", "minimum": 1, "maximum": 5},
    "stream": {"type": "boolean"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    path: str
    summary: str
    description: str
    example: Mapping[str, JSON] | None
    """A request to try; None of a GET."""

    def written(self) -> dict[str, Any]:
        answer = {"description": "The answer.", "content": {"application/json": {"schema": {}}}}
        operation: dict[str, Any] = {
            "tags": [TAG],
            "summary": self.summary,
            "description": self.description,
            "operationId": self.path.strip("/").replace("/", "_"),
            "responses": {"200": answer, "default": _FAILURE},
        }
        if self.example is None:
            return {"get": operation}
        properties = {name: _SCHEMAS.get(name, {}) for name in self.example}
        required = [name for name in ("model", *_SUBJECTS) if name in self.example]
        schema = {"type": "object", "properties": properties, "required": required}
        content = {"application/json": {"schema": schema, "example": dict(self.example)}}
        return {"post": operation | {"requestBody": {"required": True, "content": content}}}


_SUBJECTS = ("messages", "prompt", "input", "text")
_ASKED: Mapping[EndpointType, dict[str, JSON]] = {
    EndpointType.CHAT: {"messages": _QUESTION, "temperature": 0.0, "max_tokens": 64},
    EndpointType.COMPLETIONS: {"prompt": "An apple is", "temperature": 0.0, "max_tokens": 64},
    EndpointType.EMBEDDINGS: {"input": ["an apple", "a pear"]},
}
_VERBS = {
    EndpointType.CHAT: "Chat with",
    EndpointType.COMPLETIONS: "Complete text by",
    EndpointType.EMBEDDINGS: "Embed by",
}


def paths(catalog: Catalog) -> dict[str, Any]:
    """The paths of every endpoint and traffic route, and those that take names."""
    operations = [*_by_name(catalog), *_by_model(catalog), *_lists()]
    return {operation.path: operation.written() for operation in operations}


def document(catalog: Catalog) -> dict[str, Any]:
    """The whole document of a gateway that stands alone."""
    security = {
        "key": {"type": "http", "scheme": "bearer", "description": "`HIKAKU_API_KEY`"},
        "password": {"type": "http", "scheme": "basic", "description": "The key as password."},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Hikaku gateway", "version": "1"},
        "tags": [{"name": TAG, "description": "Endpoints, each a named way to a model."}],
        "paths": paths(catalog),
        "components": {"securitySchemes": security},
        "security": [{}, {"key": []}, {"password": []}],
    }


def _by_name(catalog: Catalog) -> Iterator[_Operation]:
    for endpoint in catalog.endpoints.values():
        model = f"`{endpoint.model}` of " if endpoint.model else ""
        lines = [f"{model}`{endpoint.provider}`."]
        if endpoint.unavailable is not None:
            lines.append(f"Unavailable: {endpoint.unavailable}.")
        kind = endpoint.endpoint_type
        example = _ASKED[kind]
        if endpoint.declared_as == "routes" and kind is EndpointType.EMBEDDINGS:
            example = {"text": example["input"]}
        yield _invocation(endpoint.name, kind, " ".join(lines), example)
    for route in catalog.routes.values():
        total = sum(share for _, share in route.shares)
        shares = ", ".join(f"{share / total:.0%} `{name}`" for name, share in route.shares)
        kind = route.endpoint_type
        yield _invocation(route.name, kind, f"Shared out: {shares}.", _ASKED[kind])


def _invocation(
    name: str, kind: EndpointType, description: str, example: Mapping[str, JSON]
) -> _Operation:
    return _Operation(
        path=f"/gateway/{name}/invocations",
        summary=f"{_VERBS[kind]} {name}",
        description=description,
        example=example,
    )


def _by_model(catalog: Catalog) -> Iterator[_Operation]:
    chat = _first(catalog, EndpointType.CHAT)
    asked = {"model": chat} | _ASKED[EndpointType.CHAT]
    text = {"model": _first(catalog, EndpointType.COMPLETIONS)} | _ASKED[EndpointType.COMPLETIONS]
    vectors = {"model": _first(catalog, EndpointType.EMBEDDINGS)} | _ASKED[EndpointType.EMBEDDINGS]
    response: dict[str, JSON] = {"model": chat, "input": "What colour is an apple?"}
    message: dict[str, JSON] = {"model": chat, "max_tokens": 64, "messages": _QUESTION}
    named = "`model` is the name of an endpoint."
    rows: list[tuple[str, str, Mapping[str, JSON]]] = [
        ("/v1/chat/completions", "Chat, in OpenAI's dialect", asked),
        ("/v1/completions", "Complete text, in OpenAI's dialect", text),
        ("/v1/embeddings", "Embed, in OpenAI's dialect", vectors),
        ("/v1/responses", "Respond, in OpenAI's dialect", response),
        ("/anthropic/v1/messages", "Chat, in Anthropic's dialect", message),
    ]
    for path, summary, example in rows:
        yield _Operation(path=path, summary=summary, description=named, example=example)


def _lists() -> Iterator[_Operation]:
    rows = {
        "/v1/models": "List endpoints, in OpenAI's dialect",
        "/api/2.0/endpoints/": "List endpoints, as MLflow 2.9 and later do",
        "/api/2.0/gateway/routes/": "List endpoints, as MLflow 2.8 does",
    }
    for path, summary in rows.items():
        description = "Every endpoint that the configuration names."
        yield _Operation(path=path, summary=summary, description=description, example=None)


def _first(catalog: Catalog, kind: EndpointType) -> str:
    for endpoint in catalog.endpoints.values():
        if endpoint.endpoint_type is kind and endpoint.unavailable is None:
            return endpoint.name
    return "name-of-an-endpoint"
