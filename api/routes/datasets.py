"""Datasets: upload a revision as a stream, read revisions and their rows."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Query, Request
from pydantic import AfterValidator, Field
from starlette.responses import JSONResponse

from api.context import Context
from api.dependencies import ContextDep
from api.repeats import Once, OnceStreamDep, respond
from api.security import takes_stream
from api.uploads import Body, File, hashed, opened
from api.wire import (
    BASE,
    DATASET_EXAMPLE,
    DatasetCursor,
    DatasetId,
    Limit,
    NameFilter,
    Out,
    Page,
    RowCursor,
    clean,
    page,
    problems,
    resource,
)
from hikaku.datasets import Format, read_rows, sniff
from hikaku.datasets.encodings import known_encoding
from hikaku.errors import InvalidInput
from hikaku.names import not_blank
from hikaku.storage import datasets
from hikaku.storage.datasets import Revision
from hikaku.storage.idempotency import Answer

router = resource("/datasets", "datasets")


class DatasetRevision(Out):
    """An immutable list of rows; a change is a new revision under the same name."""

    id: str = Field(examples=[DATASET_EXAMPLE])
    name: str | None = Field(examples=["colors"])
    revision: int | None = Field(examples=[1])
    rows: int = Field(examples=[60])
    columns: list[str] = Field(examples=[["object", "expected"]])
    fingerprint: str = Field(description="SHA-256 over the rows in order.")
    source: str | None = Field(examples=["colors.csv (csv)"])
    created_at: datetime


class DatasetRow(Out):
    """One row."""

    id: str = Field(description="Number of the row, from 0.", examples=["0"])
    row: int
    row_key: str = Field(
        description="The row's own `id`, else a hash of its content. Comparisons pair rows by it;"
        " of rows that share one, the nth with the nth."
    )
    data: dict[str, Any] = Field(examples=[{"object": "りんご", "expected": "赤"}])


_Name = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=200,
        description="Under which the revision is kept; without one it has an id only.",
        examples=["colors"],
    ),
    AfterValidator(lambda text: text if text is None else clean(not_blank(text))),
]


def _readable(encoding: str | None) -> str | None:
    """Refuse an encoding that nothing here reads, before the upload is read."""
    try:
        if encoding is not None:
            known_encoding(encoding, b"")
    except InvalidInput as error:
        raise ValueError(str(error)) from error
    return encoding


_Format = Annotated[
    Format | None, Query(description="Told by the file's name, its type and its beginning.")
]
_Encoding = Annotated[
    str | None,
    Query(
        max_length=40,
        pattern=r"^[A-Za-z0-9_\-]+$",
        description="`utf-8`, `cp932`, `utf-16`; detected if left out.",
        examples=["cp932"],
    ),
    AfterValidator(_readable),
]

_JSONL = '{"object": "りんご", "expected": "赤"}\n{"object": "空", "expected": "青"}\n'
_CSV = "object,expected\nりんご,赤\n空,青\n"
_BODIES = {
    "requestBody": {
        "required": True,
        "description": "The rows themselves, or a multipart form with one file.",
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}, "example": _JSONL},
            "text/csv": {"schema": {"type": "string"}, "example": _CSV},
            "text/tab-separated-values": {"schema": {"type": "string"}},
            "application/json": {
                "schema": {"type": "array", "items": {"type": "object"}},
                "example": [{"object": "りんご", "expected": "赤"}],
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "contentMediaType": "application/octet-stream",
                        }
                    },
                }
            },
        },
    }
}


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Upload a dataset",
    response_model=DatasetRevision,
    responses={
        200: {"description": "The name has this content already.", "model": DatasetRevision},
        **problems(HTTPStatus.CONFLICT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    },
    openapi_extra=_BODIES,
)
@takes_stream
async def upload(
    request: Request,
    context: ContextDep,
    once: OnceStreamDep,
    *,
    name: _Name = None,
    format: _Format = None,  # noqa: A002 - it is the word of the API
    encoding: _Encoding = None,
) -> JSONResponse:
    """Stores the rows as the next revision of the name, in one transaction.

    The body is streamed: its size does not matter to memory. A fault names line and column, and
    then nothing is stored. Content the name already has is not stored again.
    """
    body = Body(request.stream())
    kind = request.headers.get("content-type", "")
    wanted = _Wanted(name=name, format=format, encoding=encoding)
    work = partial(_store, context, once, body, kind, wanted)
    answer, replayed = await to_thread.run_sync(work, limiter=context.uploads)
    location = f"{BASE}/datasets/{answer.body['id']}"
    return respond(answer, location=location, replayed=replayed)


@router.get("", summary="List dataset revisions")
def list_datasets(
    context: ContextDep, after: DatasetCursor = None, limit: Limit = 50, name: NameFilter = None
) -> Page[DatasetRevision]:
    """Gives the revisions that have a name, newest first."""
    with context.sessions() as session:
        found = datasets.listing(session, after=after, limit=limit + 1, name=name)
    return page([_out(revision) for revision in found], limit, lambda revision: revision.id)


@router.get(
    "/{dataset_id}", summary="Read a dataset revision", responses=problems(HTTPStatus.NOT_FOUND)
)
def read_dataset(dataset_id: DatasetId, context: ContextDep) -> DatasetRevision:
    """Gives one revision, without its rows."""
    with context.sessions() as session:
        return _out(datasets.get(session, dataset_id))


@router.get("/{dataset_id}/rows", summary="Read rows", responses=problems(HTTPStatus.NOT_FOUND))
def read_rows_of(
    dataset_id: DatasetId, context: ContextDep, after: RowCursor = None, limit: Limit = 50
) -> Page[DatasetRow]:
    """Gives rows in their order."""
    with context.sessions() as session:
        revision = datasets.get(session, dataset_id)
        found = datasets.rows(session, revision, after=after, limit=limit + 1)
    rows = [
        DatasetRow(id=str(row.number), row=row.number, row_key=row.key, data=row.data)
        for row in found
    ]
    return page(rows, limit, lambda row: row.id)


class _Wanted(Out):
    """What the query says of an upload."""

    name: str | None
    format: Format | None
    encoding: str | None


def _store(
    context: Context, once: Once, body: Body, kind: str, wanted: _Wanted
) -> tuple[Answer, bool]:
    """Read the body into the database, in the thread that owns the transaction."""
    digest = hashlib.sha256()
    with context.sessions.begin() as session:
        is_known = once.recall_stream(session)
        file = opened(body.chunks(), kind)
        chunks = hashed(file.chunks, digest)
        if is_known:
            _drain(chunks)
            kept = once.replay_stream(session, digest.digest())
            if kept is not None:
                return kept, True
        written = wanted.format or sniff(file.name, file.content_type, file.first)
        rows = read_rows(chunks, format=written, encoding=wanted.encoding)
        source = _source(file, written)
        stored = datasets.store(session, rows, name=wanted.name, source=source)
        status = HTTPStatus.CREATED if stored.is_new else HTTPStatus.OK
        answer = Answer(status=status, body=_out(stored.revision).model_dump(mode="json"))
        once.keep(session, answer, digest.digest())
    return answer, False


def _drain(chunks: Iterator[bytes]) -> None:
    for _ in chunks:
        pass


def _source(file: File, written: Format) -> str:
    name = "" if file.name is None else file.name.replace("\0", "")[:200]
    return f"{name} ({written})".strip() if name else written.value


def _out(revision: Revision) -> DatasetRevision:
    return DatasetRevision(
        id=revision.id,
        name=revision.name,
        revision=revision.number,
        rows=revision.n_rows,
        columns=list(revision.columns),
        fingerprint=revision.fingerprint.hex(),
        source=revision.source,
        created_at=revision.created_at,
    )
