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
    return {**document, "paths": document["paths"] | found}
