"""The part of our OpenAPI document that the surfaces write: every endpoint by its name."""

from typing import Any

from gateway.config import Catalog
from gateway.surfaces.openapi import paths

_KEYS: list[dict[str, list[str]]] = [{"key": []}, {"password": []}]


def with_surfaces(document: dict[str, Any], catalog: Catalog) -> dict[str, Any]:
    """Give the document with what can be asked now; the one given stays as it is."""
    found = paths(catalog)
    for operations in found.values():
        for operation in operations.values():
            operation["security"] = _KEYS
    return {**document, "paths": _in_their_words(document["paths"]) | found}


def _in_their_words(ours: dict[str, Any]) -> dict[str, Any]:
    """Leave out what FastAPI says of its own accord: OpenAI's paths answer 400 and never 422."""
    return {
        path: {method: _without_422(operation) for method, operation in operations.items()}
        if path.startswith("/v1/")
        else operations
        for path, operations in ours.items()
    }


def _without_422(operation: dict[str, Any]) -> dict[str, Any]:
    answers = {status: told for status, told in operation["responses"].items() if status != "422"}
    return {**operation, "responses": answers}
