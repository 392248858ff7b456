"""Jobs: submit them, list them, read them."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import Query
from sqlalchemy import Connection
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from api.context import Context
from api.dependencies import ContextDep
from api.job_answers import accepted, answered
from api.job_view import JobOut, job_out, jobs_out
from api.money_view import EstimateOut
from api.preflights import estimated
from api.repeats import Once, OnceDep
from api.routes.endpoints import identities
from api.wire import (
    DATASET_EXAMPLE,
    PROMPT_EXAMPLE,
    JobCursor,
    JobId,
    Limit,
    Page,
    ProjectFilter,
    page,
    problems,
    resource,
    shown,
    written,
)
from hikaku.jobs import JobState
from hikaku.specs import JobSpec
from hikaku.storage import jobs
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
_WITH_A_BUDGET = {
    "project": "nightly",
    "prompt": {"template": "{{object}}は何色ですか?"},
    "dataset": {"id": DATASET_EXAMPLE},
    "endpoints": ["gpt-4o-mini"],
    "params": {"max_tokens": 64},
    "budget_usd": "2.50",
}


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Submit a job",
    response_model=JobOut,
    responses=problems(HTTPStatus.CONFLICT)
    | {200: {"model": EstimateOut, "description": "With `preflight=true`: the estimate."}},
    openapi_extra=shown(_INLINE, _BY_REFERENCE, _WITH_A_BUDGET),
)
async def submit_job(
    spec: JobSpec,
    context: ContextDep,
    once: OnceDep,
    *,
    preflight: Annotated[
        bool,
        Query(description="Ask about 20 rows only, and estimate the job instead of running it."),
    ] = False,
    wait_seconds: Annotated[
        float, Query(gt=0, le=600, description="How long a preflight may wait for its pilot.")
    ] = 120,
) -> JSONResponse:
    """Runs a prompt template over rows on endpoints, and scores the completions.

    All of it is checked before anything is stored; the answer comes when the job is stored.
    With `preflight=true` nothing but a pilot is run: about 20 rows of each endpoint, drawn by
    length, really asked; the answer is calls, tokens, cost and time as intervals.
    """
    if preflight:
        return await estimated(spec, context, once, wait_seconds)
    return await run_in_threadpool(_submit, spec, context, once)


def _submit(spec: JobSpec, context: Context, once: Once) -> JSONResponse:
    with context.sessions.begin() as session:
        first = once.recall(session)
        if first is not None:
            return accepted(first, replayed=True)
        known = identities(context.gateway.catalog)
        submitted = submit(session, spec, known, slots=context.slots)
        answer = answered(session, context, submitted.job_id, HTTPStatus.CREATED)
        once.keep(session, answer)
    # After the commit, as a worker may start at once; after the answer, as a broker that is
    # away takes seconds to say so, and the sweep publishes what it did not get.
    return accepted(answer, then=BackgroundTask(context.queue.put_shards, submitted.hints))


@router.get("", summary="List jobs", response_model=Page[JobOut])
def list_jobs(
    context: ContextDep,
    after: JobCursor = None,
    limit: Limit = 50,
    state: Annotated[JobState | None, Query(description="Only those in this state.")] = None,
    project: ProjectFilter = None,
) -> Response:
    """Gives jobs, newest first."""

    def seen(asked: Connection) -> list[JobOut]:
        found = jobs.listing(asked, after=after, limit=limit + 1, state=state, project=project)
        return jobs_out(asked, found, context.submissions, mlflow=context.mlflow, now=_now())

    return written(page(context.reader.read(seen), limit, lambda job: job.id))


@router.get(
    "/{job_id}",
    summary="Read a job",
    response_model=JobOut,
    responses=problems(HTTPStatus.NOT_FOUND),
)
def read_job(job_id: JobId, context: ContextDep) -> Response:
    """Gives state, counts, rate and cost so far; costs the same however many cells there are."""

    def seen(asked: Connection) -> JobOut:
        return job_out(asked, job_id, context.submissions, mlflow=context.mlflow, now=_now())

    return written(context.reader.read(seen))


def _now() -> datetime:
    return datetime.now(UTC)
