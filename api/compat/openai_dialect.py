"""OpenAI's words for lists, times and failures, for the routes that answer as its API does."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from typing_extensions import override

from api.errors import RequestRefusedError
from api.security import GuardedRoute
from api.wire import Out
from hikaku.errors import Conflict, HikakuError, InvalidInput, NotFound


class OpenAIError(Out):
    """What went wrong."""

    message: str
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(description="Which parameter is at fault.")
    code: str | None


class OpenAIFailure(Out):
    """A failure, as OpenAI writes it."""

    error: OpenAIError


FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"description": HTTPStatus(status).phrase, "model": OpenAIFailure}
    for status in (400, 401)
}


class ParameterRefusedError(Exception):
    """A parameter that cannot be taken."""

    def __init__(
        self, message: str, *, param: str, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


class OpenAIRoute(GuardedRoute):
    """A route behind our guard whose failures are in OpenAI's words."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await answer(request)
            except _KNOWN as error:
                return _failure(error)

        return answered


_KNOWN = (
    HikakuError, HTTPException, OperationalError, ParameterRefusedError, PoolTimeout,
    RequestRefusedError, RequestValidationError,
)  # fmt: skip


def seconds(at: datetime | None) -> int | None:
    """Write a moment as OpenAI does."""
    return None if at is None else int(at.timestamp())


def moment(at: datetime) -> int:
    """Write a moment that is always there."""
    return int(at.timestamp())


def _failure(error: Exception) -> Response:  # noqa: PLR0911 - a table
    match error:
        case ParameterRefusedError():
            return _refusal(error.status, str(error), param=error.param, code=error.code)
        case RequestRefusedError():
            return _refusal(error.status, error.detail, code=error.code, headers=error.headers)
        case RequestValidationError():
            return _invalid(error.errors())
        case InvalidInput():
            param = error.faults[0].pointer.strip("/") if error.faults else None
            return _refusal(400, str(error), param=param)
        case NotFound():
            return _refusal(404, str(error), param="id")
        case Conflict():
            return _refusal(409, str(error))
        case HTTPException():
            return _refusal(error.status_code, str(error.detail), headers=error.headers)
        case OperationalError() | PoolTimeout():
            message = "The database does not answer; nothing was changed, try again in a moment."
            return _refusal(503, message, kind="server_error", headers={"retry-after": "2"})
        case _:
            raise error


def _invalid(faults: Sequence[Mapping[str, Any]]) -> Response:
    fault = faults[0]
    param = ".".join(str(part) for part in fault["loc"][1:]) or None
    if fault["type"] == "missing":
        message, code = f"Missing required parameter: '{param}'.", "missing_required_parameter"
    elif fault["type"] == "extra_forbidden":
        message, code = f"Unknown parameter: '{param}'.", "unknown_parameter"
    else:
        message, code = f"Invalid value for '{param}': {fault['msg']}.", "invalid_value"
    return _refusal(400, message, param=param, code=code)


def _refusal(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    kind: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    kind = kind or (
        "authentication_error" if status == HTTPStatus.UNAUTHORIZED else "invalid_request_error"
    )
    body: BaseModel = OpenAIFailure(
        error=OpenAIError(message=message, type=kind, param=param, code=code)
    )
    return JSONResponse(body.model_dump(), status, dict(headers or {}))
