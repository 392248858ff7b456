"""Reads request bodies, refusing them with the statuses and plain texts TGI has for that."""

import json
from http import HTTPStatus
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

_LARGEST_BODY_BYTES = 2_000_000

_Body = TypeVar("_Body", bound=BaseModel)


class RefusedBodyError(Exception):
    """The body is not one; answered as plain text."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


async def read(request: Request, kind: type[_Body]) -> _Body:
    """Read a body, refusing what is not one with the words and statuses TGI has for it."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise RefusedBodyError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Expected request with `Content-Type: application/json`",
        )
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > _LARGEST_BODY_BYTES:
            raise RefusedBodyError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "length limit exceeded")
    try:
        parsed = json.loads(content)
    except ValueError as error:
        raise RefusedBodyError(
            HTTPStatus.BAD_REQUEST, f"Failed to parse the request body as JSON: {error}"
        ) from error
    try:
        return kind.model_validate(parsed)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RefusedBodyError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"Failed to deserialize the JSON body into the target type: {place}: {first['msg']}",
        ) from error
