"""Money: budgets of jobs and projects, and judging anew what was paid for."""

from decimal import Decimal
from http import HTTPStatus

from pydantic import Field, model_validator
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse

from api.context import Context
from api.dependencies import ContextDep
from api.job_answers import accepted, answered
from api.job_view import JobOut
from api.money_view import BudgetOut, EstimateOut, budget_out
from api.preflights import told_of
from api.repeats import OnceDep
from api.routes.projects import InPath
from api.wire import BASE, JobId, problems, shown
from api.wire import resource as _resource
from hikaku.budgeting import top_up
from hikaku.errors import NotFound
from hikaku.numbers import Switch, Usd
from hikaku.rescore import rescore
from hikaku.specs import Closed, ScorerSpec
from hikaku.storage import budgets, projects
from hikaku.storage.tables import BudgetKind

router = _resource("", "money")


class TopUp(Closed):
    """More money for a job, or another limit."""

    add_usd: Usd | None = Field(default=None, description="On top of its limit.")
    limit_usd: Usd | None = Field(default=None, description="Its limit from now on.")
    resume: Switch = Field(default=True, description="Go on if it paused because of its budget.")

    @model_validator(mode="after")
    def _one(self) -> "TopUp":
        if (self.add_usd is None) == (self.limit_usd is None):
            raise ValueError("give exactly one of add_usd, limit_usd")
        return self


class Limit(Closed):
    """What a project may spend from now on."""

    limit_usd: Usd


class Rescore(Closed):
    """By which scorers."""

    scorers: tuple[ScorerSpec, ...] = Field(min_length=1, max_length=32)


@router.post(
    "/jobs/{job_id}/budget",
    status_code=HTTPStatus.ACCEPTED,
    summary="Top up a job",
    response_model=JobOut,
    responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    openapi_extra=shown({"add_usd": "5"}, {"limit_usd": "20", "resume": False}),
)
def top_up_job(job_id: JobId, given: TopUp, context: ContextDep, once: OnceDep) -> JSONResponse:
    """Raises what a job may cost, or gives it a budget; one that paused for money goes on."""
    with context.sessions.begin() as session:
        first = once.recall(session)
        if first is not None:
            return accepted(first, replayed=True)
        hints = top_up(
            session, job_id, add=given.add_usd, limit=given.limit_usd, resume=given.resume
        )
        answer = answered(session, context, job_id, HTTPStatus.ACCEPTED)
        once.keep(session, answer)
    return accepted(answer, then=BackgroundTask(context.queue.put_shards, hints))


@router.post(
    "/jobs/{job_id}/rescore",
    status_code=HTTPStatus.CREATED,
    summary="Judge a job by other scorers",
    response_model=JobOut,
    responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    openapi_extra=shown({"scorers": [{"type": "contains", "normalize": ["nfkc", "casefold"]}]}),
)
def rescore_job(job_id: JobId, given: Rescore, context: ContextDep, once: OnceDep) -> JSONResponse:
    """Makes a job whose completions are all copied from an ended one, without any call.

    Results never change: the two jobs stand side by side in a comparison. To add scorers to a job
    and keep those it has, extend it.
    """
    with context.sessions.begin() as session:
        first = once.recall(session)
        if first is not None:
            return accepted(first, replayed=True)
        submitted = rescore(session, job_id, given.scorers, slots=context.slots)
        answer = answered(session, context, submitted.job_id, HTTPStatus.CREATED)
        once.keep(session, answer)
    return accepted(answer, then=BackgroundTask(context.queue.put_shards, submitted.hints))


@router.get("/projects/{name}/budget", summary="Read a project's budget", responses=problems(404))
def read_budget(name: InPath, context: ContextDep) -> BudgetOut:
    """Gives what a project may spend, has spent since it has the budget, and has set aside."""
    return _budget(context, name)


@router.put(
    "/projects/{name}/budget",
    summary="Give a project a budget",
    openapi_extra=shown({"limit_usd": "250"}),
)
def put_budget(name: InPath, given: Limit, context: ContextDep) -> BudgetOut:
    """Limits what all jobs of a project together may cost from now on.

    A job that runs and that no budget can hold (no known price, no `max_tokens`) pauses at its
    next shard and says why. Jobs that paused for money are resumed one by one.
    """
    with context.sessions.begin() as session:
        projects.ensure(session, name)
        budgets.set_limit(session, BudgetKind.PROJECT, name, Decimal(given.limit_usd))
    return _budget(context, name)


@router.delete(
    "/projects/{name}/budget",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Take a project's budget away",
    responses=problems(404),
)
def delete_budget(name: InPath, context: ContextDep) -> None:
    """Lets the jobs of a project cost what they cost; what was spent is forgotten with it."""
    with context.sessions.begin() as session:
        if not budgets.remove(session, BudgetKind.PROJECT, name):
            raise NotFound(f"project {name!r} has no budget")


@router.get(
    "/jobs/{job_id}/estimate",
    summary="Read what a pilot tells",
    responses=problems(HTTPStatus.NOT_FOUND),
)
def read_estimate(job_id: JobId, context: ContextDep) -> EstimateOut:
    """Estimates the job that a pilot was made for, by what has come of the pilot up to now."""
    return told_of(context, job_id)


def _budget(context: Context, name: str) -> BudgetOut:
    with context.sessions() as session:
        found = budget_out(budgets.funds(session, BudgetKind.PROJECT, name))
    if found is None:
        mend = f"PUT {BASE}/projects/{name}/budget gives it one"
        raise NotFound(f"project {name!r} has no budget; {mend}")
    return found
