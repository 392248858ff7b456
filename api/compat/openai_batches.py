"""OpenAI's Batch API: requests out of a file, run by our own job engine."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field, StringConstraints
from sqlalchemy.orm import Session

from api.compat.openai_dialect import (
    FAILURES,
    OpenAIRoute,
    ParameterRefusedError,
    moment,
    seconds,
)
from api.compat.openai_files import FILE_EXAMPLE, PURPOSE, inner, lifetime_of, shown
from api.dependencies import ContextDep
from api.wire import Out
from api.wire import shown as examples
from hikaku import ids
from hikaku.batches import BatchState
from hikaku.errors import NotFound
from hikaku.jobs import Outcome
from hikaku.specs import Closed, RequestPath
from hikaku.storage import batches, files, jobs
from hikaku.storage.tables import Batch

router = APIRouter(
    prefix="/v1/batches", tags=["batches"], route_class=OpenAIRoute, responses=FAILURES
)

BATCH_EXAMPLE = "batch_01kbd2m6v1e0g8x3h5t7q9wz4c"
WINDOW = "24h"


class OutputExpiresAfter(Closed):
    """How long the files of a batch are kept after they were written."""

    anchor: str = Field(examples=["created_at"])
    seconds: int = Field(examples=[86_400], le=2**31 - 1)


_Key = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_Value = Annotated[str, StringConstraints(max_length=512)]


class BatchRequest(Closed):
    """A file of requests to be run."""

    input_file_id: str = Field(max_length=100, examples=[FILE_EXAMPLE])
    endpoint: RequestPath
    completion_window: Literal["24h"]
    metadata: dict[_Key, _Value] | None = Field(default=None, max_length=16)
    output_expires_after: OutputExpiresAfter | None = None


class BatchFault(Out):
    """Why a file was refused."""

    code: str | None = Field(examples=["duplicate_custom_id"])
    message: str | None
    param: str | None
    line: int | None


class BatchFaults(Out):
    """Why a file was refused, line by line."""

    object: Literal["list"] = "list"
    data: list[BatchFault]


class RequestCounts(Out):
    """Requests of a batch."""

    total: int
    completed: int
    failed: int


class BatchObject(Out):
    """A batch."""

    id: str = Field(examples=[BATCH_EXAMPLE])
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None = Field(description="The endpoint that all its requests name.")
    errors: BatchFaults | None
    input_file_id: str = Field(examples=[FILE_EXAMPLE])
    completion_window: str = Field(examples=[WINDOW])
    status: BatchState
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: dict[str, Any] | None = Field(description="Tokens of all answers; null until it ends.")
    metadata: dict[str, str] | None


class BatchList(Out):
    """Some batches."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


BatchId = Annotated[str, Path(max_length=100, examples=[BATCH_EXAMPLE])]

_EXAMPLE = {
    "input_file_id": FILE_EXAMPLE,
    "endpoint": "/v1/chat/completions",
    "completion_window": WINDOW,
    "metadata": {"name": "nightly"},
}


@router.post("", summary="Create a batch", openapi_extra=examples(_EXAMPLE))
def create_batch(wanted: BatchRequest, context: ContextDep) -> BatchObject:
    """Runs the requests of a file on the endpoint that they name.

    The file is read first, and refused as a whole if a line is no request. Then it is a job as
    any other, tagged with the id of the batch.
    """
    kept = wanted.output_expires_after
    if kept is not None:
        lifetime_of(kept.anchor, kept.seconds, "output_expires_after")
    with context.sessions.begin() as session:
        batch = batches.add(
            session,
            path=wanted.endpoint,
            input_file_id=_input(session, wanted.input_file_id),
            lifetime=context.batch_window,
            window=wanted.completion_window,
            tags=wanted.metadata,
            output_lifetime=None if kept is None else kept.seconds,
        )
        return _out(session, [batch])[0]


@router.get("", summary="List batches")
def list_batches(
    context: ContextDep,
    after: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> BatchList:
    """Gives batches, newest first."""
    if after is not None:
        _check_cursor(after)
    with context.sessions() as session:
        found = batches.listing(session, after=after, limit=limit + 1)
        data = _out(session, found[:limit])
    return BatchList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > limit,
    )


@router.get("/{batch_id}", summary="Read a batch", responses={404: FAILURES[400]})
def read_batch(batch_id: BatchId, context: ContextDep) -> BatchObject:
    """Gives state, counts and files of a batch."""
    with context.sessions() as session:
        return _out(session, [_found(session, batch_id)])[0]


@router.post(
    "/{batch_id}/cancel",
    summary="Cancel a batch",
    responses={404: FAILURES[400], 409: FAILURES[400]},
)
def cancel_batch(batch_id: BatchId, context: ContextDep) -> BatchObject:
    """No new call starts; what was answered by then is in the files."""
    with context.sessions.begin() as session:
        _found(session, batch_id)
        return _out(session, [batches.cancel(session, batch_id)])[0]


def _input(session: Session, file_id: str) -> str:
    try:
        file = files.get(session, inner(file_id))
    except NotFound as error:
        message = f"No such File object: {file_id}"
        raise ParameterRefusedError(message, param="input_file_id") from error
    if file.purpose != PURPOSE:
        message = f"The file {file_id} has the purpose '{file.purpose}', not '{PURPOSE}'."
        raise ParameterRefusedError(message, param="input_file_id", code="invalid_purpose")
    return file.id


def _check_cursor(batch_id: str) -> None:
    try:
        ids.decode(ids.BATCH, batch_id)
    except ValueError as error:
        message = "Invalid value: 'after' must be the id of a batch."
        raise ParameterRefusedError(message, param="after", code="invalid_value") from error


def _found(session: Session, batch_id: str) -> Batch:
    try:
        return batches.get(session, batch_id)
    except NotFound as error:
        raise NotFound(f"No batch found with id '{batch_id}'.") from error


def _out(session: Session, found: Sequence[Batch]) -> list[BatchObject]:
    running = [b.job_id for b in found if b.job_id is not None and b.ended_at is None]
    progress = jobs.progress(session, running)
    return [_shown(batch, progress.get(batch.job_id or "")) for batch in found]


def _shown(batch: Batch, progress: jobs.Progress | None) -> BatchObject:
    state = BatchState(batch.state)
    ended = {state: seconds(batch.ended_at)} if state.is_final else {}
    return BatchObject(
        id=batch.id,
        endpoint=batch.path,
        model=batch.model,
        errors=None if batch.errors is None else BatchFaults(data=list(batch.errors)),
        input_file_id=shown(batch.input_file_id),
        completion_window=batch.window,
        status=state,
        output_file_id=batch.output_file_id and shown(batch.output_file_id),
        error_file_id=batch.error_file_id and shown(batch.error_file_id),
        created_at=moment(batch.created_at),
        in_progress_at=seconds(batch.in_progress_at),
        expires_at=moment(batch.expires_at),
        finalizing_at=seconds(batch.finalizing_at),
        completed_at=ended.get(BatchState.COMPLETED),
        failed_at=ended.get(BatchState.FAILED),
        expired_at=ended.get(BatchState.EXPIRED),
        cancelling_at=seconds(batch.cancelling_at),
        cancelled_at=ended.get(BatchState.CANCELLED),
        request_counts=_counts(batch, progress),
        usage=batch.usage,
        metadata=batch.tags,
    )


def _counts(batch: Batch, progress: jobs.Progress | None) -> RequestCounts:
    if progress is None:
        completed, failed = batch.n_completed, batch.n_failed
    else:
        failed = progress.failed
        completed = progress.done - failed - progress.count(Outcome.CANCELLED)
    return RequestCounts(total=batch.n_total, completed=completed, failed=failed)
