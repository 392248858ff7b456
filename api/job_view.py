"""How a job looks from outside."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field
from sqlalchemy.orm import Session

from api.pace import pace
from api.wire import BASE, JOB_EXAMPLE, Out
from hikaku.jobs import FAILED_OUTCOMES, JobState, Outcome
from hikaku.specs import Growth, Reuse, SnapshotDataset, SnapshotEndpoint, SnapshotPrompt
from hikaku.storage import jobs, tracking
from hikaku.storage.jobs import EndpointProgress, Progress
from hikaku.storage.tables import Job, Tracking


class Counts(Out):
    """Cells by outcome."""

    total: int
    done: int = Field(description="Cells with an outcome.")
    pending: int
    failed: int = Field(description="Cells whose outcome is a failure; they carry no score.")
    ok: int
    truncated: int
    refused: int
    invalid_request: int
    rate_limited: int
    timeout: int
    provider_error: int
    malformed: int
    budget_skipped: int
    cancelled: int


class Tokens(Out):
    """Tokens that providers reported; null when none did."""

    input: int | None
    output: int | None


class JobEndpoint(Out):
    """One endpoint of a job, as it was when the job was submitted."""

    name: str
    provider: str
    model: str | None
    fingerprint: str
    params: dict[str, Any]
    counts: Counts


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
    tokens: Tokens
    endpoints: list[JobEndpoint]
    prompt: SnapshotPrompt
    dataset: SnapshotDataset
    scorers: list[JobScorer]
    repeats: int
    baseline: str
    reuse: Reuse
    priority: int
    tags: dict[str, str]
    extensions: list[Growth] = Field(
        description="How large the job became by each extension, oldest first."
    )
    mlflow: JobTracking
    links: JobLinks


class Moment(Out):
    """How far a job is: the `progress` event of its stream."""

    state: JobState
    counts: Counts
    rate_per_second: float | None
    eta_seconds: float | None


def job_out(session: Session, job: Job, *, mlflow: bool, now: datetime) -> JobOut:
    """Show one job."""
    return jobs_out(session, [job], mlflow=mlflow, now=now)[0]


def jobs_out(
    session: Session, found: Sequence[Job], *, mlflow: bool, now: datetime
) -> list[JobOut]:
    """Show jobs, with one read of their shards."""
    job_ids = [job.id for job in found]
    progress, tracked = jobs.progress(session, job_ids), tracking.of(session, job_ids)
    return [
        _job_out(
            job,
            progress.get(job.id, Progress()),
            _tracking(tracked.get(job.id), mlflow=mlflow),
            now,
        )
        for job in found
    ]


def moment(job: Job, progress: Progress, now: datetime) -> Moment:
    """Show how far a job is."""
    counts = _counts(_sum(progress), job.n_cells)
    is_final = JobState(job.state).is_final
    until = job.finished_at if is_final and job.finished_at is not None else now
    speed = pace(
        done=counts.done,
        pending=counts.pending,
        # A retry or an extension starts long after the job did: the mean would say nothing.
        started_at=None if job.round or job.snapshot.get("extensions") else job.started_at,
        until=until,
        is_final=is_final,
    )
    return Moment(
        state=JobState(job.state),
        counts=counts,
        rate_per_second=speed.rate_per_second,
        eta_seconds=speed.eta_seconds,
    )


def _job_out(job: Job, progress: Progress, tracked: JobTracking, now: datetime) -> JobOut:
    snapshot = jobs.snapshot(job)
    at = moment(job, progress, now)
    parts = progress.endpoints.values()
    per_endpoint = job.n_cells // len(snapshot.endpoints)
    return JobOut(
        id=job.id,
        name=job.name,
        project=job.project,
        state=at.state,
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
        cost_usd=_cost(progress),
        cost_unknown_calls=sum(part.cost_unknown_calls for part in parts),
        tokens=Tokens(
            # No provider answers in no tokens: a sum of none means that nobody reported any.
            input=sum(part.input_tokens for part in parts) or None,
            output=sum(part.output_tokens for part in parts) or None,
        ),
        endpoints=[
            _endpoint(endpoint, progress.endpoints.get(number), per_endpoint)
            for number, endpoint in enumerate(snapshot.endpoints)
        ],
        prompt=snapshot.prompt,
        dataset=snapshot.dataset,
        scorers=[
            JobScorer(name=s.name, type=s.type, version=s.version, target=s.target)
            for s in snapshot.scorers
        ],
        repeats=snapshot.repeats,
        baseline=snapshot.baseline,
        reuse=snapshot.reuse,
        priority=job.priority,
        tags=snapshot.tags,
        extensions=list(snapshot.extensions),
        mlflow=tracked,
        links=_links(job.id),
    )


def _endpoint(endpoint: SnapshotEndpoint, part: EndpointProgress | None, total: int) -> JobEndpoint:
    return JobEndpoint(
        name=endpoint.name,
        provider=endpoint.provider,
        model=endpoint.model,
        fingerprint=endpoint.fingerprint,
        params=endpoint.params.model_dump(mode="json", exclude_none=True),
        counts=_counts({} if part is None else part.counts, total),
    )


def _sum(progress: Progress) -> dict[Outcome, int]:
    return {outcome: progress.count(outcome) for outcome in Outcome}


def _counts(outcomes: Mapping[Outcome, int], total: int) -> Counts:
    done = sum(outcomes.values())
    failed = sum(outcomes.get(outcome, 0) for outcome in FAILED_OUTCOMES)
    named = {outcome.value: outcomes.get(outcome, 0) for outcome in Outcome}
    return Counts(total=total, done=done, pending=max(0, total - done), failed=failed, **named)


def _cost(progress: Progress) -> str | None:
    """Write the known cost; None when nothing that was bought has a known price."""
    parts = progress.endpoints.values()
    known = sum((part.cost_usd for part in parts), Decimal())
    if not known and any(part.cost_unknown_calls for part in parts):
        return None
    return money(known)


def money(amount: Decimal) -> str:
    """Write an amount without an exponent and without zeros at its end."""
    return f"{amount.normalize():f}"


def _tracking(found: Tracking | None, *, mlflow: bool) -> JobTracking:
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
