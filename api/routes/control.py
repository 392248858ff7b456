"""Control of a job that is there: pause, resume, cancel, retry what failed, extend; its history."""

from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.orm import Session
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse

from api.cell_view import cell_key, endpoint_number
from api.context import Context
from api.dependencies import ContextDep
from api.job_answers import accepted, answered
from api.job_view import JobOut
from api.repeats import Once, OnceDep
from api.routes.endpoints import identities
from api.wire import JobId, Limit, Named, Out, Page, page, problems, resource, shown
from hikaku.errors import Fault, InvalidInput, UnknownName
from hikaku.extension import extend
from hikaku.jobs import Hint, Outcome
from hikaku.specs import Closed, Extension, Snapshot
from hikaku.storage import control, jobs
from hikaku.storage.control import Failed
from hikaku.storage.results import CellKey

router = resource("/jobs", "jobs")

_ANSWERS = problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
_MOST_CELLS = 10_000

CellId = Annotated[str, Field(max_length=30, examples=["0.12.0"])]


Retried = Literal[
    "invalid_request",
    "rate_limited",
    "timeout",
    "provider_error",
    "malformed",
    "budget_skipped",
    "cancelled",
]
"""`RETRIED_OUTCOMES`, so that who mistypes one is told these alone."""


class RetryFailed(Closed):
    """Which failed cells are asked again: those that fit all that is given."""

    outcomes: list[Retried] = Field(
        default=[],
        max_length=16,
        description="Only cells that ended so; any failure if empty. `cancelled`: those that were"
        " never asked.",
    )
    endpoints: list[Named] = Field(
        default=[], max_length=64, description="Only cells of these, by name; of all if empty."
    )
    cells: list[CellId] = Field(
        default=[], max_length=_MOST_CELLS, description="Only these, by the `id` of `/cells`."
    )


class EventOut(Out):
    """Something that happened to a job."""

    id: str = Field(description="As in the stream of events.", examples=["58"])
    kind: str = Field(description="`state` or `control`; there may be others.")
    at: datetime
    data: dict[str, Any] = Field(examples=[{"control": "retry", "n_cells": 2, "round": 1}])


@router.post(
    "/{job_id}/pause",
    status_code=HTTPStatus.ACCEPTED,
    summary="Pause a job",
    response_model=JobOut,
    responses=_ANSWERS,
)
def pause_job(job_id: JobId, context: ContextDep, once: OnceDep) -> JSONResponse:
    """No call starts later than 2 s after the answer; calls in flight finish and are recorded."""
    return _controlled(context, once, job_id, lambda session: _none(control.pause(session, job_id)))


@router.post(
    "/{job_id}/resume",
    status_code=HTTPStatus.ACCEPTED,
    summary="Resume a job",
    response_model=JobOut,
    responses=_ANSWERS,
)
def resume_job(job_id: JobId, context: ContextDep, once: OnceDep) -> JSONResponse:
    """Lets a paused job go on where it stopped."""

    def resumed(session: Session) -> tuple[Hint, ...]:
        control.resume(session, job_id)
        return control.publish(session, job_id)

    return _controlled(context, once, job_id, resumed)


@router.post(
    "/{job_id}/cancel",
    status_code=HTTPStatus.ACCEPTED,
    summary="Cancel a job",
    response_model=JobOut,
    responses=_ANSWERS,
)
def cancel_job(job_id: JobId, context: ContextDep, once: OnceDep) -> JSONResponse:
    """No call starts later than 2 s after the answer; what was recorded stays."""
    return _controlled(
        context, once, job_id, lambda session: _none(control.cancel(session, job_id))
    )


@router.post(
    "/{job_id}/retry-failed",
    status_code=HTTPStatus.ACCEPTED,
    summary="Ask failed cells again",
    response_model=JobOut,
    responses=_ANSWERS,
    openapi_extra=shown(
        {"outcomes": ["timeout", "rate_limited"]},
        {"endpoints": ["qwen-coder"]},
        {"cells": ["0.12.0", "1.3.0"]},
        {},
    ),
)
def retry_failed(
    job_id: JobId, context: ContextDep, once: OnceDep, which: RetryFailed | None = None
) -> JSONResponse:
    """Puts failed cells of an ended job back to work; old results stay until new ones land."""

    def retried(session: Session) -> tuple[Hint, ...]:
        chosen = RetryFailed() if which is None else which
        snapshot = jobs.snapshot(jobs.get(session, job_id, lock=True))
        control.retry_failed(session, job_id, _failed(chosen, snapshot))
        return control.publish(session, job_id)

    return _controlled(context, once, job_id, retried)


@router.post(
    "/{job_id}/extend",
    status_code=HTTPStatus.ACCEPTED,
    summary="Extend a job",
    response_model=JobOut,
    responses=_ANSWERS,
    openapi_extra=shown(
        {"repeats": 5},
        {"endpoints": ["smollm"], "scorers": [{"type": "exact_match"}]},
        {"rows": [{"object": "海", "expected": "青"}]},
        {"dataset": {"name": "colors", "revision": 2}},
    ),
)
def extend_job(
    job_id: JobId, wanted: Extension, context: ContextDep, once: OnceDep
) -> JSONResponse:
    """Adds rows, endpoints, scorers or repeats; what was asked is not asked again.

    What the job has already is passed over. New scorers judge also what is recorded, without any
    call.
    """

    def extended(session: Session) -> tuple[Hint, ...]:
        known = identities(context.gateway.catalog)
        return extend(session, job_id, wanted, known, slots=context.slots).hints

    return _controlled(context, once, job_id, extended)


@router.get("/{job_id}/history", summary="Read what happened to a job", responses=problems(404))
def list_events(
    job_id: JobId,
    context: ContextDep,
    after: Annotated[
        str | None,
        Query(pattern=r"^\d{1,18}$", description="The `last_id` of the page before."),
    ] = None,
    limit: Limit = 50,
) -> Page[EventOut]:
    """Gives the changes of its state and every control of it, oldest first."""
    with context.sessions() as session:
        jobs.get(session, job_id)
        found = jobs.events(session, job_id, after_seq=int(after or 0), limit=limit + 1)
        entries = [
            EventOut(id=str(e.seq), kind=e.kind, at=e.at.astimezone(UTC), data=e.data)
            for e in found
        ]
    return page(entries, limit, lambda event: event.id)


def _controlled(
    context: Context, once: Once, job_id: str, act: Callable[[Session], tuple[Hint, ...]]
) -> JSONResponse:
    """Do something with a job once, and show the job then; hints go out behind the answer."""
    with context.sessions.begin() as session:
        first = once.recall(session)
        if first is not None:
            return accepted(first, replayed=True)
        hints = act(session)
        answer = answered(session, context, job_id, HTTPStatus.ACCEPTED)
        once.keep(session, answer)
    return accepted(answer, then=BackgroundTask(context.queue.put_shards, hints))


def _none(_: object) -> tuple[Hint, ...]:
    return ()


def _failed(which: RetryFailed, snapshot: Snapshot) -> Failed:
    return Failed(
        outcomes=[Outcome(outcome) for outcome in which.outcomes],
        endpoints=[
            _endpoint(snapshot, name, position) for position, name in enumerate(which.endpoints)
        ],
        cells=[_cell(text, position) for position, text in enumerate(which.cells)],
    )


def _endpoint(snapshot: Snapshot, name: str, position: int) -> int:
    try:
        return endpoint_number(snapshot, name)
    except UnknownName as error:
        fault = Fault(pointer=f"/endpoints/{position}", message=str(error))
        raise UnknownName(str(error), faults=[fault]) from error


def _cell(text: str, position: int) -> CellKey:
    try:
        return cell_key(text)
    except InvalidInput as error:
        message = "is not the id of a cell, such as 0.12.0"
        raise InvalidInput(
            f"{text!r} {message}", faults=[Fault(pointer=f"/cells/{position}", message=message)]
        ) from error
