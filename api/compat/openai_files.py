"""OpenAI's Files API, as far as batches need it."""

from collections.abc import Generator, Mapping
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request
from pydantic import AfterValidator, Field
from sqlalchemy.orm import Session
from starlette.responses import StreamingResponse

from api.compat.openai_dialect import (
    FAILURES,
    OpenAIRoute,
    ParameterRefusedError,
    moment,
    seconds,
)
from api.context import Context
from api.dependencies import ContextDep
from api.security import takes_stream
from api.streams import attachment, from_thread
from api.uploads import Body, opened_form
from api.wire import Out, clean
from hikaku import ids
from hikaku.batches import MAX_FILE_BYTES
from hikaku.errors import NotFound
from hikaku.jobs import is_text
from hikaku.storage import files
from hikaku.storage.files import FileTooLarge, StoredFile

router = APIRouter(
    prefix="/v1/files", tags=["batches"], route_class=OpenAIRoute, responses=FAILURES
)

FILE_EXAMPLE = "file-01kbd2m6v1e0g8x3h5t7q9wz4c"
PURPOSE = "batch"
LIFETIME = timedelta(days=30)
"""Of a file for batches when nothing is asked for, as at OpenAI."""
_SHORTEST, _LONGEST = 3_600, 2_592_000
_LONGEST_NAME = 255


class FileObject(Out):
    """A file."""

    id: str = Field(examples=[FILE_EXAMPLE])
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str = Field(examples=["requests.jsonl"])
    purpose: str = Field(examples=["batch", "batch_output"])
    status: Literal["processed"] = "processed"
    status_details: None = None


class FileList(Out):
    """Some files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(Out):
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


FileId = Annotated[str, Path(max_length=100, examples=[FILE_EXAMPLE])]

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "contentMediaType": "application/octet-stream",
                            "description": "JSON lines, each a request; at most 200 MiB.",
                        },
                        "purpose": {"type": "string", "enum": [PURPOSE]},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {
                            "type": "integer",
                            "minimum": _SHORTEST,
                            "maximum": _LONGEST,
                        },
                    },
                }
            }
        },
    }
}


def shown(file_id: str) -> str:
    """Write the id of a file as OpenAI does."""
    return file_id.replace("_", "-", 1)


def inner(file_id: str) -> str:
    """Read the id of a file.

    Raises:
        NotFound: It is none.
    """
    if not file_id.startswith("file-"):
        raise NotFound(f"No such File object: {file_id!r}")
    return file_id.replace("-", "_", 1)


def _cursor(file_id: str) -> str:
    try:
        ids.decode(ids.FILE, inner(file_id))
    except (NotFound, ValueError) as error:
        message = "Invalid value: 'after' must be the id of a file."
        raise ParameterRefusedError(message, param="after", code="invalid_value") from error
    return inner(file_id)


def lifetime_of(anchor: object, asked: object, param: str) -> timedelta:
    """Read how long a file is kept.

    Raises:
        ParameterRefusedError: It is not one of the times that can be asked for.
    """
    if anchor != "created_at":
        message = "Invalid value: the only anchor is 'created_at'."
        raise ParameterRefusedError(message, param=f"{param}.anchor", code="invalid_value")
    text = str(asked).lstrip("0")
    if not (text.isascii() and text.isdigit() and _SHORTEST <= int(text[:9]) <= _LONGEST):
        message = f"Invalid value: 'seconds' must be between {_SHORTEST} and {_LONGEST}."
        raise ParameterRefusedError(message, param=f"{param}.seconds", code="invalid_value")
    return timedelta(seconds=int(text))


@router.post("", summary="Upload a file", openapi_extra=_FORM)
@takes_stream
async def upload_file(request: Request, context: ContextDep) -> FileObject:
    """Streams a file of requests into the database; it is there whole, or not at all."""
    body = Body(request.stream())
    kind = request.headers.get("content-type", "")
    store = partial(_store, context, body, kind)
    return await to_thread.run_sync(store, limiter=context.uploads)


@router.get("", summary="List files")
def list_files(
    context: ContextDep,
    after: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    purpose: Annotated[
        str | None,
        Query(max_length=100),
        AfterValidator(lambda text: text if text is None else clean(text)),
    ] = None,
) -> FileList:
    """Gives files, newest first unless asked otherwise."""
    with context.sessions() as session:
        found = files.listing(
            session,
            after=None if after is None else _cursor(after),
            limit=limit + 1,
            newest_first=order == "desc",
            purpose=purpose,
        )
    data = [_out(file) for file in found[:limit]]
    return FileList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > limit,
    )


@router.get("/{file_id}", summary="Read about a file", responses={404: FAILURES[400]})
def read_file(file_id: FileId, context: ContextDep) -> FileObject:
    """Gives size, purpose and times of a file."""
    with context.sessions() as session:
        return _out(_found(session, file_id))


@router.get(
    "/{file_id}/content",
    summary="Read a file",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The file as it is.",
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        },
        404: FAILURES[400],
    },
)
def read_content(file_id: FileId, context: ContextDep) -> StreamingResponse:
    """Streams the content of a file."""
    with context.sessions() as session:
        file = _found(session, file_id)
    return StreamingResponse(
        from_thread(_content(context, file.id)),
        media_type="application/octet-stream",
        headers={
            "content-disposition": attachment(file.name),
            "content-length": str(file.n_bytes),
        },
    )


@router.delete("/{file_id}", summary="Delete a file", responses={404: FAILURES[400]})
def delete_file(file_id: FileId, context: ContextDep) -> FileDeleted:
    """Removes a file and its content; batches that were made of it stay."""
    with context.sessions.begin() as session:
        file = _found(session, file_id)
        files.delete(session, file.id)
    return FileDeleted(id=file_id)


def _store(context: Context, body: Body, kind: str) -> FileObject:
    """Read the body into the database, in the thread that owns the transaction."""
    with context.sessions.begin() as session:
        chunks, fields = opened_form(body.chunks(), kind)
        try:
            writer = files.store(session, chunks, most=MAX_FILE_BYTES)
        except FileTooLarge as error:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            raise ParameterRefusedError(str(error), param="file", status=status) from error
        name, lifetime = _checked(fields)
        return _out(writer.close(name=name, purpose=PURPOSE, lifetime=lifetime))


def _checked(fields: Mapping[str, str]) -> tuple[str, timedelta]:
    """Read the fields of the form: the file's name, and how long it is kept."""
    purpose = fields.get("purpose")
    if purpose is None:
        message = "Missing required parameter: 'purpose'."
        raise ParameterRefusedError(message, param="purpose", code="missing_required_parameter")
    if purpose != PURPOSE:
        message = f"'{purpose[:50]}' is not one of ['{PURPOSE}']: files are kept for batches only."
        raise ParameterRefusedError(message, param="purpose", code="invalid_value")
    name = fields.get("filename", "")[:_LONGEST_NAME]
    if not is_text(name):
        raise ParameterRefusedError("The file's name is not text.", param="file")
    anchor, asked = (fields.get(f"expires_after[{part}]") for part in ("anchor", "seconds"))
    if anchor is None and asked is None:
        return name, LIFETIME
    return name, lifetime_of(anchor, asked, "expires_after")


def _found(session: Session, file_id: str) -> StoredFile:
    try:
        return files.get(session, inner(file_id))
    except NotFound as error:
        raise NotFound(f"No such File object: {file_id}") from error


def _content(context: Context, file_id: str) -> Generator[bytes]:
    yield from files.content(context.sessions, file_id)


def _out(file: StoredFile) -> FileObject:
    return FileObject(
        id=shown(file.id),
        bytes=file.n_bytes,
        created_at=moment(file.created_at),
        expires_at=seconds(file.expires_at),
        filename=file.name,
        purpose=file.purpose,
    )
