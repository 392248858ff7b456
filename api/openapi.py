"""The OpenAPI document: what FastAPI writes, and what only we know."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from typing_extensions import override

from api.compat.documents import with_surfaces
from api.errors import Problem
from api.security import Access, access_of
from api.wire import problems

_DESCRIPTION = """
Find out which prompt and which model is better, and trust the answer.

A **job** runs a prompt template over the rows of a dataset on some endpoints and scores the
completions; a **comparison** holds the endpoints against a baseline, row by row.

- Failures are `application/problem+json` (RFC 9457) with a stable `code` and JSON pointers.
- Every POST that makes work takes an `Idempotency-Key`.
- Lists are pages: `after=<last_id>` while `has_more`.
- `X-Request-Id` is taken, or made, and given back.
- With `HIKAKU_API_KEY` set: `Authorization: Bearer <key>`, or the key as the password of Basic.
"""

_TAGS = [
    {"name": "jobs", "description": "Submit, watch, read, cancel, retry, export."},
    {"name": "money", "description": "Budgets, estimates, and judging anew what is paid for."},
    {"name": "comparisons", "description": "Endpoints and jobs held against a baseline."},
    {"name": "datasets", "description": "Immutable lists of rows under a name."},
    {"name": "prompts", "description": "Versioned prompt templates."},
    {"name": "schedules", "description": "Cron lines that submit jobs."},
    {"name": "chat", "description": "Ask a model now."},
    {"name": "endpoints", "description": "Named ways to models."},
    {"name": "models", "description": "Endpoints in the words of MLflow, OpenAI, Anthropic."},
    {"name": "batches", "description": "OpenAI's Files and Batch APIs, run as jobs."},
    {"name": "service", "description": "Health, version, queue."},
]

OPTIONS: dict[str, Any] = {
    "title": "Hikaku",
    "summary": "Batch evaluation of prompts and models.",
    "description": _DESCRIPTION,
    "openapi_tags": _TAGS,
    "license_info": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    "openapi_url": None,
    "docs_url": None,
    "redoc_url": None,
    "responses": problems(401, 422, 500),
}
"""How the application is described; its documents are served by the routes below."""


class Documented(FastAPI):
    """An application whose OpenAPI document knows the guard and the problems."""

    @override
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            _add_problem(document)
            _add_security(document, self)
            self.openapi_schema = document
        # Not kept: the catalog may be replaced.
        return with_surfaces(self.openapi_schema, self.state.context.gateway.catalog)


def _add_problem(document: dict[str, Any]) -> None:
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= schema.pop("$defs", {})
    schemas[Problem.__name__] = schema


def _add_security(document: dict[str, Any], app: FastAPI) -> None:
    document["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "`HIKAKU_API_KEY`"},
        "password": {"type": "http", "scheme": "basic", "description": "The key as password."},
    }
    for route in iter_route_contexts(app.routes):
        operations = document["paths"].get(route.path_format, {})
        is_open = route.endpoint is not None and access_of(route.endpoint) is Access.PUBLIC
        for method in route.methods or ():
            if (operation := operations.get(method.lower())) is not None:
                operation["security"] = [] if is_open else [{"key": []}, {"password": []}]
