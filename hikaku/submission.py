"""Submits a job: what was asked for is resolved and checked, then stored in one transaction.

The API and the schedules submit the same way. Nothing is stored unless all of it is right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.errors import Fault, InvalidInput
from hikaku.failpoints import Point, reach
from hikaku.jobs import Hint
from hikaku.planning import PlannedShard, plan
from hikaku.pricing import unbounded
from hikaku.resolving import resolve
from hikaku.specs import EndpointIdentity, JobSpec, Snapshot
from hikaku.storage import buckets, budgets, estimates, jobs, offloads, projects
from hikaku.storage.tables import BudgetKind

PUBLISHED_AT_ONCE = 64
"""Shards published with the submission; the sweep feeds the rest as these are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A stored job, and the hints to publish after the commit."""

    job_id: str
    hints: tuple[Hint, ...]


def submit(
    session: Session,
    spec: JobSpec,
    endpoints: Mapping[str, EndpointIdentity],
    *,
    slots: int = 16,
) -> Submitted:
    """Store a job and its shards in the caller's transaction.

    Args:
        session: The transaction; commit it, then publish the hints.
        spec: What is asked for.
        endpoints: The gateway's endpoints by name.
        slots: Shards that all workers together can run at once.

    Raises:
        InvalidInput: Something in the request cannot be done; its faults say where and why.
    """
    snapshot, revision = resolve(session, spec, endpoints)
    check_budgets(session, spec, snapshot)
    shards = plan(revision.n_rows, len(snapshot.endpoints), spec.repeats, slots=slots)
    name = spec.name or _name(snapshot)
    submitted = store(session, snapshot, shards, name=name, priority=spec.priority)
    if spec.budget_usd is not None:
        budgets.set_limit(session, BudgetKind.JOB, submitted.job_id, spec.budget_usd)
    estimates.attach(session, submitted.job_id, snapshot)
    aside = offloads.plan(session, submitted.job_id, snapshot, spec.deadline)
    reach(Point.IN_SUBMIT)
    hints = tuple(hint for hint in submitted.hints if hint.shard_id not in aside)
    return Submitted(job_id=submitted.job_id, hints=hints)


def store(
    session: Session,
    snapshot: Snapshot,
    shards: Sequence[PlannedShard],
    *,
    name: str,
    priority: int,
) -> Submitted:
    """Store a job of a whole snapshot, and mark its first shards as published."""
    projects.ensure(session, snapshot.project)
    job_id = ids.new_id(ids.JOB)
    shard_ids = jobs.add(
        session,
        job_id,
        name=name,
        snapshot=snapshot,
        bucket=buckets.current(session),
        priority=priority,
        shards=shards,
    )
    published = jobs.mark_published(session, shard_ids[:PUBLISHED_AT_ONCE])
    hints = tuple(Hint(shard_id=shard_id, priority=priority) for shard_id in published)
    return Submitted(job_id=job_id, hints=hints)


def check_budgets(session: Session, spec: JobSpec, snapshot: Snapshot) -> None:
    """Refuse a job that a budget holds and whose calls nothing bounds."""
    is_held = budgets.funds(session, BudgetKind.PROJECT, spec.project) is not None
    if spec.budget_usd is None and not is_held:
        return
    whose = "/project" if spec.budget_usd is None else "/budget_usd"
    faults = [
        Fault(pointer=whose, message=most)
        for most in (unbounded(snapshot, endpoint) for endpoint in snapshot.endpoints)
        if most is not None
    ]
    if faults:
        because = f"project {spec.project!r} has a budget" if is_held else "the job has a budget"
        raise InvalidInput(f"{because}, which cannot hold its calls", faults=faults)


def _name(snapshot: Snapshot) -> str:
    endpoints = ", ".join(endpoint.name for endpoint in snapshot.endpoints)
    rows = snapshot.dataset.name or f"{snapshot.dataset.n_rows} rows"
    return f"{snapshot.prompt.name or 'prompt'} x {rows} x {endpoints}"[:200]
