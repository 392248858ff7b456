"""Every failure becomes an `application/problem+json` (RFC 9457) by one table."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from api.faults import faults_of
from gateway.errors import (
    AccessDenied,
    EndpointUnavailable,
    GatewayError,
    PermanentError,
    QuotaExhausted,
    RateLimited,
    TimedOut,
    UnknownEndpoint,
)
from hikaku.errors import Conflict, Fault, HikakuError, InvalidInput, NotFound

log = logging.getLogger("api.errors")

MEDIA_TYPE = "application/problem+json"


class ProblemFault(BaseModel):
    """One thing wrong with a request."""

    pointer: str = Field(
        description="RFC 6901 pointer into the body; or `query limit`, `header X`, `path id`; "
        "or `line 3, column 7` of an upload."
    )
    message: str = Field(description="What is wrong and how to mend it.")


class Problem(BaseModel):
    """A failure, as RFC 9457 writes it."""

    type: str = Field(examples=["urn:hikaku:problem:not_found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no job job_01kbd2m6v1e0g8x3h5t7q9wz4c"])
    code: str = Field(description="Stable name of the failure.", examples=["not_found"])
    instance: str = Field(examples=["urn:hikaku:request:4f0c1b7e9a5d4b1c8e2f3a6d7b8c9e01"])
    errors: list[ProblemFault] = Field(default=[], description="What is wrong, place by place.")


class RequestRefusedError(Exception):
    """A request that is turned away at the door, before anything looked into it."""

    def __init__(
        self,
        *,
        status: HTTPStatus,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.headers = headers or {}


_STATUS: Sequence[tuple[type[HikakuError], HTTPStatus]] = (
    (InvalidInput, HTTPStatus.UNPROCESSABLE_ENTITY),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Conflict, HTTPStatus.CONFLICT),
)
"""Domain errors; the first that fits. One that fits none is a mistake of ours: 500."""

_CODES = {
    HTTPStatus.NOT_FOUND: ("no_such_path", "there is nothing at this path; see /docs"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "this path does not take this method"),
    HTTPStatus.BAD_REQUEST: ("bad_request", "the request could not be read"),
}

_GATEWAY: Sequence[tuple[type[GatewayError], HTTPStatus]] = (
    (UnknownEndpoint, HTTPStatus.UNPROCESSABLE_ENTITY),
    (QuotaExhausted, HTTPStatus.PAYMENT_REQUIRED),
    (EndpointUnavailable, HTTPStatus.FAILED_DEPENDENCY),
    (AccessDenied, HTTPStatus.FAILED_DEPENDENCY),
    (PermanentError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (RateLimited, HTTPStatus.TOO_MANY_REQUESTS),
    (TimedOut, HTTPStatus.GATEWAY_TIMEOUT),
    (GatewayError, HTTPStatus.BAD_GATEWAY),
)
"""Failures of a model asked at once. What is permanent is never a 5xx: clients retry those."""


_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""By RFC 9110; Python renamed them in 3.13."""


def problem(
    request_id: str,
    status: int,
    code: str,
    detail: str,
    *,
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Write a problem as a response."""
    found = Problem(
        type=f"urn:hikaku:problem:{code}",
        title=_TITLES.get(status) or HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        instance=f"urn:hikaku:request:{request_id}",
        errors=[ProblemFault(pointer=fault.pointer, message=fault.message) for fault in faults],
    )
    return JSONResponse(
        found.model_dump(mode="json"),
        status_code=status,
        headers=dict(headers or {}),
        media_type=MEDIA_TYPE,
    )


def install(app: FastAPI) -> None:
    """Answer every known failure with its problem; the rest is met by `RequestFrame`."""
    app.add_exception_handler(HikakuError, _domain)
    app.add_exception_handler(GatewayError, _gateway)
    app.add_exception_handler(RequestRefusedError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(PoolTimeout, _database)


def _id(request: Request) -> str:
    return str(request.scope["state"]["request_id"])


async def _domain(request: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), None)
    if status is None or not isinstance(error, HikakuError):
        raise error
    faults = error.faults if isinstance(error, InvalidInput) else ()
    return problem(_id(request), status, error.code, str(error), faults=faults)


async def _gateway(request: Request, error: Exception) -> Response:
    if not isinstance(error, GatewayError):
        raise error
    status = next(status for kind, status in _GATEWAY if isinstance(error, kind))
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after.total_seconds())))
    code, faults = str(error.outcome), list[Fault]()
    if isinstance(error, UnknownEndpoint):
        code, faults = "unknown_name", [Fault(pointer="/endpoint", message=error.message)]
    return problem(_id(request), status, code, error.message, faults=faults, headers=headers)


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestRefusedError):
        raise error
    return problem(_id(request), error.status, error.code, error.detail, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    found = faults_of(error.errors(), error.body, _schema(request))
    detail = found[0].message if len(found) == 1 else f"{len(found)} things are wrong"
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return problem(_id(request), status, "invalid_input", detail, faults=found)


def _schema(request: Request) -> type[BaseModel] | None:
    """Give the model the body was held against."""
    body = getattr(request.scope.get("route"), "body_field", None)
    model: Any = None if body is None else body.field_info.annotation
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    code, detail = _CODES.get(status, (status.name.lower(), str(error.detail)))
    return problem(_id(request), status, code, detail, headers=error.headers)


async def _database(request: Request, error: Exception) -> Response:
    """Tell "the database is away" (come back) from "our statement is wrong" (500)."""
    if not isinstance(error, (OperationalError, PoolTimeout)):
        raise error
    log.warning("database away", extra={"request_id": _id(request), "error": repr(error)[:500]})
    status = HTTPStatus.SERVICE_UNAVAILABLE
    detail = "the database does not answer; nothing was changed, try again in a moment"
    headers = {"retry-after": "2"}
    return problem(_id(request), status, "database_unavailable", detail, headers=headers)
