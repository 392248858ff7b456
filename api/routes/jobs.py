"""Jobs: submit, watch, cancel, retry what failed."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import Query
from pydantic import Field
from sqlalchemy.orm import Session
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse

from api.context import Context
from api.dependencies import ContextDep
from api.job_view import JobOut, job_out, jobs_out
from api.repeats import OnceDep, respond
from api.routes.endpoints import identities
from api.wire import (
    BASE,
    DATASET_EXAMPLE,
    PROMPT_EXAMPLE,
    JobCursor,
    JobId,
    Limit,
    Page,
    page,
    problems,
    resource,
    shown,
)
from hikaku.jobs import JobState, Outcome
from hikaku.specs import Closed, JobSpec
from hikaku.storage import control, jobs
from hikaku.storage.control import Failed
from hikaku.storage.idempotency import Answer
from hikaku.submission import submit

router = resource("/jobs", "jobs")

_INLINE = {
    "name": "colors",
    "prompt": {"template": "{{object}}は何色ですか?"},
    "rows": [
        {"object": "りんご", "expected": "赤"},
        {"object": "空", "expected": "青"},
    ],
    "endpoints": ["qwen-coder", {"name": "smollm", "params": {"temperature": 0.7}}],
    "params": {"temperature": 0, "max_tokens": 64},
    "scorers": [{"type": "contains"}],
}
_BY_REFERENCE = {
    "prompt": {"id": PROMPT_EXAMPLE},
    "dataset": {"id": DATASET_EXAMPLE},
    "endpoints": ["qwen-coder", "smollm"],
    "scorers": [{"type": "exact_match"}, {"type": "numeric", "target": "answer"}],
    "repeats": 3,
    "reuse": "on",
}


class RetryFailed(Closed):
    """Which failed cells are asked again."""

    outcomes: list[Outcome] = Field(
        default=[], max_length=16, description="Every failed cell if empty."
    )


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Submit a job",
    response_model=JobOut,
    responses=problems(HTTPStatus.CONFLICT),
    openapi_extra=shown(_INLINE, _BY_REFERENCE),
)
def submit_job(spec: JobSpec, context: ContextDep, once: OnceDep) -> JSONResponse:
    """Runs a prompt template over rows on endpoints, and scores the completions.

    All of it is checked before anything is stored; the answer comes when the job is stored.
    """
    with context.sessions.begin() as session:
        first = once.recall(session)
        if first is not None:
            return _accepted(first, replayed=True)
        known = identities(context.gateway.catalog)
        submitted = submit(session, spec, known, slots=context.slots)
        answer = _answer(session, context, submitted.job_id, HTTPStatus.CREATED)
        once.keep(session, answer)
    # After the commit, as a worker may start at once; after the answer, as a broker that is
    # away takes seconds to say so, and the sweep publishes what it did not get.
    return _accepted(answer, then=BackgroundTask(context.queue.put_shards, submitted.hints))


@router.get("", summary="List jobs")
def list_jobs(
    context: ContextDep,
    after: JobCursor = None,
    limit: Limit = 50,
    state: Annotated[JobState | None, Query(description="Only those in this state.")] = None,
) -> Page[JobOut]:
    """Gives jobs, newest first."""
    with context.sessions() as session:
        found = jobs.listing(session, after=after, limit=limit + 1, state=state)
        shown_jobs = jobs_out(session, found, mlflow=context.mlflow, now=_now())
    return page(shown_jobs, limit, lambda job: job.id)


@router.get("/{job_id}", summary="Read a job", responses=problems(HTTPStatus.NOT_FOUND))
def read_job(job_id: JobId, context: ContextDep) -> JobOut:
    """Gives state, counts, rate and cost so far; costs the same however many cells there are."""
    with context.sessions() as session:
        job = jobs.get(session, job_id)
        return job_out(session, job, mlflow=context.mlflow, now=_now())


@router.post(
    "/{job_id}/cancel",
    status_code=HTTPStatus.ACCEPTED,
    summary="Cancel a job",
    response_model=JobOut,
    responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def cancel_job(job_id: JobId, context: ContextDep, once: OnceDep) -> JSONResponse:
    """No new call starts; what was recorded stays."""
    with context.sessions.begin() as session:
        first = once.recall(session)
        if first is not None:
            return _accepted(first, replayed=True)
        control.cancel(session, job_id)
        answer = _answer(session, context, job_id, HTTPStatus.ACCEPTED)
        once.keep(session, answer)
    return _accepted(answer)


@router.post(
    "/{job_id}/retry-failed",
    status_code=HTTPStatus.ACCEPTED,
    summary="Ask failed cells again",
    response_model=JobOut,
    responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    openapi_extra=shown({"outcomes": ["timeout", "rate_limited"]}, {}),
)
def retry_failed(
    job_id: JobId, context: ContextDep, once: OnceDep, which: RetryFailed | None = None
) -> JSONResponse:
    """Puts the failed cells of an ended job back to work; old results stay until new ones land."""
    outcomes = [] if which is None else which.outcomes
    with context.sessions.begin() as session:
        first = once.recall(session)
        if first is not None:
            return _accepted(first, replayed=True)
        control.retry_failed(session, job_id, Failed(outcomes=outcomes))
        answer = _answer(session, context, job_id, HTTPStatus.ACCEPTED)
        once.keep(session, answer)
    return _accepted(answer)


def _answer(session: Session, context: Context, job_id: str, status: HTTPStatus) -> Answer:
    job = jobs.get(session, job_id)
    body = job_out(session, job, mlflow=context.mlflow, now=_now())
    return Answer(status=status, body=body.model_dump(mode="json"))


def _accepted(
    answer: Answer, *, replayed: bool = False, then: BackgroundTask | None = None
) -> JSONResponse:
    location = f"{BASE}/jobs/{answer.body['id']}"
    return respond(answer, location=location, replayed=replayed, then=then)


def _now() -> datetime:
    return datetime.now(UTC)
