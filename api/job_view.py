"""How a job looks from outside."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import Connection

from api.money_view import (
    BudgetOut,
    HeldAgainst,
    LedgerOut,
    budget_out,
    estimate_out,
    known_cost,
    ledger_out,
    money,
)
from api.pace import pace
from api.submissions import Submission, Submissions
from api.wire import BASE, JOB_EXAMPLE, Out
from hikaku.errors import NotFound
from hikaku.jobs import FAILED_OUTCOMES, JobState, Outcome, by_outcome
from hikaku.specs import Execution, Growth, Reuse, SnapshotDataset, SnapshotEndpoint, SnapshotPrompt
from hikaku.storage.jobs import EndpointProgress, Progress
from hikaku.storage.standings import HandedOver, Standing, Tracked

_UNASKED = frozenset({Outcome.BUDGET_SKIPPED, Outcome.CANCELLED})


class Counts(Out):
    """Cells by outcome."""

    total: int
    done: int = Field(description="Cells that were asked, or copied, and have an outcome.")
    pending: int = Field(description="Cells that are to be asked; 0 when the job has ended.")
    failed: int = Field(description="Cells whose outcome is a failure; they carry no score.")
    ok: int
    truncated: int
    refused: int
    invalid_request: int
    rate_limited: int
    timeout: int
    provider_error: int
    malformed: int
    budget_skipped: int = Field(
        description="Not asked while the job is paused for its budget; they have no row in `cells`."
    )
    cancelled: int = Field(
        description="Never asked when the job ended. These have no row in `cells` and `export`,"
        " except in a rescored job; `retry-failed` with the outcome `cancelled` asks them."
    )


class Tokens(Out):
    """Tokens that providers reported; null when none did."""

    input: int | None
    output: int | None


class PriceOut(Out):
    """USD per million tokens, and where that is from."""

    input: str | None
    output: str | None
    cached_input: str | None = Field(description="null: as other input.")
    source: str | None = Field(
        description="The gateway's file; or version, page and month of the table of list prices.",
        examples=["list 2026-11-22: https://platform.openai.com/docs/pricing, as of 2025-11"],
    )


class JobEndpoint(Out):
    """One endpoint of a job, as it was when the job was submitted."""

    name: str
    provider: str
    model: str | None
    fingerprint: str
    params: dict[str, Any]
    counts: Counts
    price: PriceOut | None = Field(description="As the job was submitted; null: not known.")


class JobScorer(Out):
    """One scorer of a job."""

    name: str
    type: str
    version: int
    target: str | None


class JobTracking(Out):
    """Where a job is in MLflow."""

    state: Literal["off", "pending", "synced"]
    run_id: str | None = None
    url: str | None = None
    error: str | None = Field(default=None, description="Why the last try did not succeed.")


class VendorBatches(Out):
    """What of a job goes through the batch interfaces of vendors."""

    waiting: int = Field(description="Batches that are not handed over yet.")
    running: int = Field(description="Batches at their vendor.")
    ended: int = Field(description="Batches that came back.")
    given_up: int = Field(description="Batches whose cells are asked online.")
    requests: int = Field(description="Handed over, in all batches.")
    error: str | None = Field(description="What one of them met.")


class JobLinks(Out):
    """Where to go on."""

    self: str
    cells: str
    events: str
    history: str
    export: str
    comparison: str


class JobOut(Out):
    """A batch evaluation job."""

    id: str = Field(examples=[JOB_EXAMPLE])
    name: str = Field(examples=["colors"])
    project: str = Field(examples=["default"])
    state: JobState
    paused_for: str | None = Field(
        description="`budget` when its money, or its project's, is spent: top up and resume."
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    counts: Counts
    calls: int = Field(description="HTTP calls made, retries included.")
    repeated_calls: int = Field(description="Calls made again because a worker died in them.")
    reused: int = Field(description="Cells answered from recorded completions.")
    rate_per_second: float | None = Field(description="Cells; null until there is one to tell.")
    eta_seconds: float | None
    cost_usd: str | None = Field(description="null when no price is known.", examples=["0.0123"])
    cost_unknown_calls: int
    ledger: LedgerOut
    budget: BudgetOut | None = Field(description="null: the job has none of its own.")
    project_budget: BudgetOut | None = Field(description="null: its project has none.")
    estimate: HeldAgainst | None = Field(description="null: nobody asked for one before.")
    tokens: Tokens
    endpoints: list[JobEndpoint]
    prompt: SnapshotPrompt
    dataset: SnapshotDataset
    scorers: list[JobScorer]
    repeats: int
    execution: Execution = Field(
        description="As submitted, and of what is added; cells that are retried are asked online."
    )
    baseline: str
    reuse: Reuse
    priority: int
    tags: dict[str, str]
    rescored_from: str | None = Field(
        description="The job whose completions these are; nothing was asked.", examples=[None]
    )
    extensions: list[Growth] = Field(
        description="How large the job became by each extension, oldest first."
    )
    mlflow: JobTracking
    vendor_batches: VendorBatches | None = Field(
        description="null: all of it is asked online (`execution`)."
    )
    links: JobLinks


class Moment(Out):
    """How far a job is: the `progress` event of its stream."""

    state: JobState
    counts: Counts
    rate_per_second: float | None
    eta_seconds: float | None


def job_out(
    asked: Connection, job_id: str, known: Submissions, *, mlflow: bool, now: datetime
) -> JobOut:
    """Show one job.

    Raises:
        NotFound: There is none with this id.
    """
    for job in jobs_out(asked, [job_id], known, mlflow=mlflow, now=now):
        return job
    raise NotFound(f"there is no job {job_id}")


def jobs_out(
    asked: Connection, job_ids: Sequence[str], known: Submissions, *, mlflow: bool, now: datetime
) -> list[JobOut]:
    """Show jobs, newest first; one that is not there is left out."""
    return [
        _job_out(job, submission, _tracking(job.tracked, mlflow=mlflow), now)
        for job, submission in known.read(asked, job_ids)
    ]


def moment(job: Standing, now: datetime) -> Moment:
    """Show how far a job is."""
    counts = _counts(_sum(job.progress), job.n_cells, job.state, unpaid=_is_unpaid(job))
    is_final = job.state.is_final
    until = job.finished_at if is_final and job.finished_at is not None else now
    speed = pace(
        done=counts.done,
        pending=counts.pending,
        # A retry or an extension starts long after the job did: the mean would say nothing.
        started_at=None if job.round or job.was_extended else job.started_at,
        until=until,
        is_final=is_final,
    )
    return Moment(
        state=job.state,
        counts=counts,
        rate_per_second=speed.rate_per_second,
        eta_seconds=speed.eta_seconds,
    )


def _is_unpaid(job: Standing) -> bool:
    """Tell whether what is pending is skipped until there is money for it."""
    return job.state == JobState.PAUSED and job.paused_for is not None


def _job_out(job: Standing, submission: Submission, tracked: JobTracking, now: datetime) -> JobOut:
    snapshot, progress = submission.snapshot, job.progress
    at = moment(job, now)
    parts = progress.endpoints.values()
    return JobOut(
        id=job.id,
        name=job.name,
        project=job.project,
        state=at.state,
        paused_for=job.paused_for if job.state == JobState.PAUSED else None,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        error=job.error,
        counts=at.counts,
        calls=sum(part.calls for part in parts),
        repeated_calls=sum(part.repeated_calls for part in parts),
        reused=sum(part.reused for part in parts),
        rate_per_second=at.rate_per_second,
        eta_seconds=at.eta_seconds,
        cost_usd=known_cost(progress),
        cost_unknown_calls=sum(part.cost_unknown_calls for part in parts),
        ledger=ledger_out(progress, job.account),
        budget=budget_out(job.budget),
        project_budget=budget_out(job.project_budget),
        estimate=estimate_out(job),
        tokens=Tokens(
            # No provider answers in no tokens: a sum of none means that nobody reported any.
            input=sum(part.input_tokens for part in parts) or None,
            output=sum(part.output_tokens for part in parts) or None,
        ),
        endpoints=_endpoints(job, submission),
        prompt=snapshot.prompt,
        dataset=snapshot.dataset,
        scorers=[
            JobScorer(name=s.name, type=s.type, version=s.version, target=s.target)
            for s in snapshot.scorers
        ],
        repeats=snapshot.repeats,
        execution=snapshot.execution,
        baseline=snapshot.baseline,
        reuse=snapshot.reuse,
        priority=job.priority,
        tags=snapshot.tags,
        rescored_from=snapshot.rescored_from,
        extensions=list(snapshot.extensions),
        mlflow=tracked,
        vendor_batches=_vendor_batches(job.handed_over),
        links=_links(job.id),
    )


def _endpoints(job: Standing, submission: Submission) -> list[JobEndpoint]:
    endpoints = submission.snapshot.endpoints
    parts = job.progress.endpoints
    return [
        _endpoint(endpoint, params, _counts_of(job, parts.get(number), len(endpoints)))
        for number, (endpoint, params) in enumerate(zip(endpoints, submission.params, strict=True))
    ]


def _vendor_batches(found: HandedOver | None) -> VendorBatches | None:
    if found is None:
        return None
    return VendorBatches(
        waiting=found.waiting,
        running=found.running,
        ended=found.ended,
        given_up=found.given_up,
        requests=found.requests,
        error=found.error,
    )


def _endpoint(endpoint: SnapshotEndpoint, params: dict[str, Any], counts: Counts) -> JobEndpoint:
    return JobEndpoint(
        name=endpoint.name,
        provider=endpoint.provider,
        model=endpoint.model,
        fingerprint=endpoint.fingerprint,
        params=params,
        counts=counts,
        price=_price(endpoint),
    )


def _sum(progress: Progress) -> dict[Outcome, int]:
    return {outcome: progress.count(outcome) for outcome in Outcome}


def _price(endpoint: SnapshotEndpoint) -> PriceOut | None:
    prices = (endpoint.input_usd_per_million_tokens, endpoint.output_usd_per_million_tokens)
    if prices == (None, None):
        return None
    cached = endpoint.cached_input_usd_per_million_tokens
    read, written, reread = (None if p is None else money(p) for p in (*prices, cached))
    return PriceOut(input=read, output=written, cached_input=reread, source=endpoint.price_source)


def _counts_of(job: Standing, part: EndpointProgress | None, n_endpoints: int) -> Counts:
    recorded = {} if part is None else part.counts
    return _counts(recorded, job.n_cells // n_endpoints, job.state, unpaid=_is_unpaid(job))


def _counts(
    recorded: Mapping[Outcome, int], total: int, state: JobState, *, unpaid: bool
) -> Counts:
    """Count cells; what no money is left for is skipped, not pending, and has no outcome yet."""
    outcomes = by_outcome(recorded, total, state)
    left = max(0, total - sum(outcomes.values()))
    return Counts(
        total=total,
        done=sum(outcomes[outcome] for outcome in Outcome if outcome not in _UNASKED),
        pending=0 if unpaid else left,
        failed=sum(outcomes[outcome] for outcome in FAILED_OUTCOMES),
        **{
            outcome.value: count + (left if unpaid and outcome is Outcome.BUDGET_SKIPPED else 0)
            for outcome, count in outcomes.items()
        },
    )


def _tracking(found: Tracked | None, *, mlflow: bool) -> JobTracking:
    is_synced = found is not None and found.state == "synced"
    if not mlflow and not is_synced:
        return JobTracking(state="off")
    if found is None:
        return JobTracking(state="pending")
    state: Literal["pending", "synced"] = "synced" if is_synced else "pending"
    return JobTracking(state=state, run_id=found.run_id, url=found.url, error=found.error)


def _links(job_id: str) -> JobLinks:
    path = f"{BASE}/jobs/{job_id}"
    return JobLinks(
        self=path,
        cells=f"{path}/cells",
        events=f"{path}/events",
        history=f"{path}/history",
        export=f"{path}/export",
        comparison=f"{BASE}/comparisons?jobs={job_id}",
    )
