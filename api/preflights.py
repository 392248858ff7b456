"""Estimates of jobs: the pilot is stored, waited for, and told as intervals."""

import asyncio
import dataclasses
import time
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from api.context import Context
from api.money_view import EstimateOut
from api.repeats import Once
from api.routes.endpoints import identities
from hikaku import preflight
from hikaku.jobs import Hint, JobState
from hikaku.needs import Pace
from hikaku.specs import JobSpec
from hikaku.storage import jobs
from hikaku.storage.idempotency import Answer

_LOOK_SECONDS = 0.25


async def estimated(
    spec: JobSpec, context: Context, once: Once, wait_seconds: float
) -> JSONResponse:
    """Run the pilot of a job and tell what the job will need; nothing of the job is stored."""
    pilot_id, hints = await run_in_threadpool(_start, spec, context, once)
    await run_in_threadpool(context.queue.put_shards, hints)
    until = time.monotonic() + wait_seconds
    while time.monotonic() < until and not context.closing.is_set():
        if await run_in_threadpool(_is_over, context, pilot_id):
            break
        await asyncio.sleep(_LOOK_SECONDS)
    told = await run_in_threadpool(told_of, context, pilot_id)
    return JSONResponse(told.model_dump(mode="json"))


def told_of(context: Context, pilot_id: str) -> EstimateOut:
    """Estimate by what has come of a pilot up to now.

    Raises:
        NotFound: It is no pilot.
    """
    paces = {
        name: Pace(
            concurrency=endpoint.limits.concurrency,
            rpm=endpoint.limits.rpm,
            tpm=endpoint.limits.tpm,
        )
        for name, endpoint in context.gateway.catalog.endpoints.items()
    }
    with context.sessions.begin() as session:
        return EstimateOut.model_validate(preflight.finish(session, pilot_id, paces))


def _start(spec: JobSpec, context: Context, once: Once) -> tuple[str, tuple[Hint, ...]]:
    # The key of the job itself may be the same: this answer must not stand in for its own.
    once = dataclasses.replace(once, route=f"{once.route}?preflight")
    with context.sessions.begin() as session:
        first = once.recall(session)
        if first is not None:
            return str(first.body["id"]), ()
        known = identities(context.gateway.catalog)
        submitted = preflight.start(session, spec, known)
        once.keep(session, Answer(status=HTTPStatus.OK, body={"id": submitted.job_id}))
        return submitted.job_id, submitted.hints


def _is_over(context: Context, pilot_id: str) -> bool:
    with context.sessions() as session:
        state = JobState(jobs.get(session, pilot_id).state)
    return state.is_final or state is JobState.PAUSED
