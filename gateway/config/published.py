"""The JSON Schema of the file, for editors: `python -m gateway.config.published` writes it.

Put `# yaml-language-server: $schema=gateway.schema.json` at the top of a file, and an editor
completes and checks it. What joins entries (names, destinations, fallbacks) is checked at load.
"""

import ast
import functools
import inspect
import json
import sys
import textwrap
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.config import additions, schema, vendors
from gateway.config.vendor_settings import Settings
from gateway.config.vendors import VENDORS

Schema = dict[str, Any]

_DEFS = "#/$defs/{model}"
_ENTRIES = (schema.EndpointEntry, schema.RouteEntry, schema.TrafficEntry)
_BARE: dict[str, Schema] = {
    "AccountEntry": {"type": "string"},
    "ReplicaUrl": {"type": "string"},
    "Fallback": {"type": "string"},
    "BatchApi": {"type": "boolean"},
}
"""Parts that may be written in one word, and of which type that is."""
_REFERENCE: Schema = {
    "type": "string",
    "pattern": r"^(\$\w+|env:.+)$",
    "description": "The value of an environment variable.",
}


def json_schema() -> Schema:
    """JSON Schema, draft 2020-12."""
    settings = {vendor.settings for vendor in VENDORS.values() if vendor.settings is not None}
    kinds: list[type[BaseModel]] = [*_ENTRIES, *sorted(settings, key=lambda kind: kind.__name__)]
    modes: list[tuple[type[BaseModel], Literal["validation"]]] = [(k, "validation") for k in kinds]
    _, found = models_json_schema(modes, ref_template=_DEFS)
    definitions: dict[str, Schema] = found["$defs"]
    _describe(definitions)
    for name, bare in _BARE.items():
        definitions[name] = {"anyOf": [bare, definitions[name]]}
    definitions["Reference"] = _REFERENCE
    definitions["ModelEntry"]["properties"]["provider"] = _providers()
    definitions["ModelEntry"]["allOf"] = list(_configs(definitions))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:hikaku:gateway-configuration",
        "title": "Endpoints of the gateway",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "endpoints": {"type": "array", "items": _entry("EndpointEntry")},
            "routes": {"type": "array", "items": _entry("RouteEntry")},
        },
        "$defs": dict(sorted(definitions.items())),
    }


def text() -> str:
    """As it is published."""
    return json.dumps(json_schema(), ensure_ascii=False, indent=1) + "\n"


@functools.cache
def published() -> bytes:
    """The same, as it is served."""
    return text().encode()


def _entry(otherwise: str) -> Schema:
    """An entry's kind is told by its own keys; see `schema.entry_model`."""
    chain: Schema = _ref(otherwise)
    kinds = {"route_type": "RouteEntry", "endpoint_type": "EndpointEntry"}
    for key, kind in kinds.items():
        chain = {"if": {"required": [key]}, "then": _ref(kind), "else": chain}
    traffic = {"anyOf": [{"required": ["task_type"]}, {"required": ["destinations"]}]}
    return {"if": traffic, "then": _ref("TrafficEntry"), "else": chain}


def _providers() -> Schema:
    """Any spelling is taken; editors offer the usual one."""
    return {"type": "string", "anyOf": [{"enum": sorted(VENDORS)}, {"type": "string"}]}


def _configs(definitions: dict[str, Schema]) -> Iterator[Schema]:
    """What `config` may hold, provider by provider."""
    for provider, vendor in VENDORS.items():
        if vendor.settings is None:
            continue
        config = _config(provider, vendor.settings, definitions)
        spellings = sorted({provider, provider.replace("-", "_")})
        yield {
            "if": {"properties": {"provider": {"enum": spellings}}, "required": ["provider"]},
            "then": {"properties": {"config": {"anyOf": [config, {"type": "null"}]}}},
        }


def _config(provider: str, settings: type[Settings], definitions: dict[str, Schema]) -> Schema:
    """Every setting by its name, and by MLflow's name with the provider's before it."""
    prefix = provider.replace("-", "_") + "_"
    properties: Schema = {}
    for name in definitions[settings.__name__].get("properties", {}):
        there = _ref(f"{settings.__name__}/properties/{name}")
        shape = {"anyOf": [there, _ref("Reference")]}
        properties[name] = shape
        if not name.startswith(prefix):
            properties[prefix + name] = shape
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _describe(definitions: dict[str, Schema]) -> None:
    """Put the docstrings of attributes into the descriptions of their properties."""
    for module in (additions, schema, vendors):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, BaseModel) and kind.__name__ in definitions:
                properties = definitions[kind.__name__].get("properties", {})
                for owner in reversed(kind.__mro__):
                    for name, words in _attribute_docstrings(owner):
                        if name in properties:
                            properties[name].setdefault("description", words)


def _attribute_docstrings(kind: type) -> Iterator[tuple[str, str]]:
    if not issubclass(kind, BaseModel) or kind is BaseModel:
        return
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - it is the source of a class
    for field, words in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(words, ast.Expr):
            value = words.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield ast.unparse(field.target), inspect.cleandoc(value.value)


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


if __name__ == "__main__":
    sys.stdout.write(text())
