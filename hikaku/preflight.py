"""Estimates a job before it runs: a pilot of a few rows, and what they say of all the others.

The pilot is a job like any other, so its calls are limited, counted, paid and recorded like any
others; a job that reuses completions does not buy its rows again.
"""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from hikaku import estimation, needs
from hikaku.errors import NotFound
from hikaku.estimation import Stratum
from hikaku.jobs import JobState
from hikaku.needs import Left, Pace, Part
from hikaku.pricing import Ceiling, ceiling, tariff
from hikaku.resolving import resolve
from hikaku.specs import EndpointIdentity, Execution, JobSpec, Reuse, Snapshot
from hikaku.storage import budgets, datasets, estimates, jobs, offloads, pilots, unbought
from hikaku.storage.tables import BudgetKind, Job
from hikaku.submission import Submitted, check_budgets, store

LOOKED_UP = 50_000
"""Cells that are looked up among the recorded ones; of more, a sample of about so many."""


def start(session: Session, spec: JobSpec, endpoints: Mapping[str, EndpointIdentity]) -> Submitted:
    """Store the pilot of a job, in the caller's transaction; publish its hints after the commit.

    Raises:
        InvalidInput: The job itself could not be submitted.
    """
    wanted, revision = resolve(session, spec, endpoints)
    check_budgets(session, spec, wanted)
    seed = estimation.key_of(wanted)
    rows = estimation.frame(revision.n_rows, seed)
    strata = estimation.strata(
        pilots.lengths(session, wanted, revision.bucket, rows), revision.n_rows, seed
    )
    submitted = store(
        session,
        _pilot_of(wanted),
        [],
        name=f"pilot: {spec.name or wanted.prompt.name or 'job'}"[:200],
        priority=0,
    )
    drawn = sorted(row for stratum in strata for row in stratum.rows)
    hints = pilots.add_shards(session, submitted.job_id, drawn)
    if spec.budget_usd is not None:
        budgets.set_limit(session, BudgetKind.JOB, submitted.job_id, spec.budget_usd)
    plan: dict[str, Any] = {
        "strata": [[stratum.size, list(stratum.rows)] for stratum in strata],
        "repeats": wanted.repeats,
        "reuse": wanted.reuse,
    }
    if _goes_by_batch(session, spec):
        plan["batch"] = None if spec.deadline is None else spec.deadline.isoformat()
    jobs.note(session, submitted.job_id, pilots.KIND, plan)
    return Submitted(job_id=submitted.job_id, hints=hints)


def _goes_by_batch(session: Session, spec: JobSpec) -> bool:
    """Whether the job would be handed over to vendors, where they have the interface.

    Raises:
        InvalidInput: Its deadline is over, or it insists on batches and a budget holds it.
    """
    if spec.execution is Execution.ONLINE or spec.prompt.request is not None:
        return False
    left = None if spec.deadline is None else offloads.time_until(session, spec.deadline)
    of_project = budgets.funds(session, BudgetKind.PROJECT, spec.project)
    if spec.budget_usd is not None or of_project is not None:
        if spec.execution is Execution.BATCH:
            raise offloads.held_by_budget()
        return False
    return spec.execution is Execution.BATCH or left is None or left > offloads.WORTH_IT


def _pilot_of(wanted: Snapshot) -> Snapshot:
    """What it buys is written down where the job itself would write it down."""
    reuse = Reuse.ON if wanted.reuse.reads else wanted.reuse
    tags = wanted.tags | {"hikaku": "pilot"}
    return wanted.model_copy(update={"repeats": 1, "reuse": reuse, "tags": tags})


def finish(session: Session, pilot_id: str, paces: Mapping[str, Pace]) -> dict[str, Any]:
    """Estimate the job that a pilot was made for, by what has come of it; keep the estimate.

    A pilot that paused for want of money is ended: it has told what it can.

    Args:
        session: The transaction.
        pilot_id: The pilot's job.
        paces: Limits of the endpoints, by name.

    Raises:
        NotFound: It is no pilot.
    """
    job = jobs.get(session, pilot_id)
    plan = pilots.plan_of(session, pilot_id)
    if plan is None:
        raise NotFound(f"{pilot_id} is not a pilot")
    if job.state == JobState.PAUSED and job.paused_for is not None:
        pilots.stop(session, job, "its budget does not pay for the next call")
    pilot = jobs.snapshot(job)
    reuse = Reuse(plan["reuse"])
    wanted = pilot.model_copy(update={"repeats": plan["repeats"], "reuse": reuse})
    parts = _parts(session, job, wanted, plan, paces)
    body = {
        **_summed(parts),
        "confidence": estimation.CONFIDENCE,
        "at": datetime.now(UTC).isoformat(),
        "is_complete": JobState(job.state).is_final,
        "endpoints": parts,
        "pilot": _cost_of_pilot(session, pilot_id, reads=reuse.reads),
        "notes": [*_stopped(session, job, plan), *_on_batches(pilot, plan)],
    }
    if body["is_complete"] and job.state != JobState.CANCELLED:
        estimates.keep(session, wanted, pilot_id, body)
    return body


def _parts(
    session: Session, job: Job, wanted: Snapshot, plan: dict[str, Any], paces: Mapping[str, Pace]
) -> list[dict[str, Any]]:
    """Tell what each endpoint will need."""
    strata = [Stratum(size=size, rows=tuple(rows)) for size, rows in plan["strata"]]
    left = _left(session, wanted, strata) if wanted.reuse.reads else None
    seen = pilots.tried(session, job)
    share = needs.IN_FLIGHT / len(wanted.endpoints)
    return [
        Part(
            strata=strata,
            tried=seen.get(position, {}),
            tariff=tariff(endpoint),
            repeats=wanted.repeats,
            left=None if left is None else left[position],
            batch_factor=endpoint.batch_price_factor if "batch" in plan else None,
        ).told(endpoint.name, paces.get(endpoint.name, Pace()), share)
        for position, endpoint in enumerate(wanted.endpoints)
    ]


def _left(session: Session, wanted: Snapshot, strata: Sequence[Stratum]) -> list[Left]:
    """Look up what the job would have to buy now, of each endpoint."""
    seed = estimation.key_of(wanted)
    revision = datasets.get(session, wanted.dataset.id)
    rows = estimation.frame(revision.n_rows, seed)
    parts = estimation.cut(pilots.lengths(session, wanted, revision.bucket, rows))
    most = max(1, LOOKED_UP // (wanted.repeats * len(wanted.endpoints) * len(parts)))
    chance = random.Random(seed)  # noqa: S311 - rows are drawn, not secrets
    looked = [part if len(part) <= most else chance.sample(part, most) for part in parts]
    n_looked = sum(map(len, looked))
    which = None if n_looked >= revision.n_rows else sorted(row for part in looked for row in part)
    found = unbought.count(session, wanted, revision.bucket, which)
    return [needs.left(one, strata, looked, wanted.repeats) for one in found]


def _stopped(session: Session, job: Job, plan: dict[str, Any]) -> list[dict[str, str]]:
    """Say why a pilot ended early, and what money it wants."""
    reason = pilots.stopped(session, job.id)
    if reason is None and job.state == JobState.CANCELLED:
        message = "the pilot was cancelled: what it had asked until then is all that is told from"
        return [{"code": "cancelled", "message": message}]
    if reason is None:
        return []
    pilot = jobs.snapshot(job)
    rows = [row for _, drawn in plan["strata"] for row in drawn]
    bucket = datasets.get(session, pilot.dataset.id).bucket
    texts = unbought.contents(session, pilot, bucket, rows)
    bounds = [ceiling(endpoint) for endpoint in pilot.endpoints]
    dearest = [most.of(one) for most in bounds if isinstance(most, Ceiling) for one in texts]
    message = (
        f"{reason}, and the pilot was ended: its {job.n_cells} calls can cost up to "
        f"{sum(dearest, Decimal(0)):.6f} USD together and {max(dearest, default=Decimal(0)):.6f} "
        "USD each; the estimate needs about so much"
    )
    return [{"code": "budget", "message": message}]


def _on_batches(pilot: Snapshot, plan: dict[str, Any]) -> list[dict[str, str]]:
    """Say what an estimate supposes of vendors' batches."""
    names = [one.name for one in pilot.endpoints if one.batch_price_factor is not None]
    if "batch" not in plan or not names:
        return []
    whose = ", ".join(names)
    until = plan["batch"] or "26 hours after it is submitted"
    return [
        {
            "code": "batch_price",
            "message": f"cost of {whose} is told at the price of the vendor's batch interface; the "
            "pilot was asked online at the full price, as is what the vendor does not answer",
        },
        {
            "code": "batch_time",
            "message": f"no time is told for {whose}: a vendor answers a batch in minutes or in "
            f"hours; what it has not answered is asked online before the deadline ({until})",
        },
    ]


def _cost_of_pilot(session: Session, pilot_id: str, *, reads: bool) -> dict[str, Any]:
    progress = jobs.progress(session, [pilot_id])[pilot_id]
    parts = progress.endpoints.values()
    unknown = sum(part.cost_unknown_calls for part in parts)
    cost = sum((part.cost_usd for part in parts), Decimal(0))
    return {
        "job": pilot_id,
        "cells": progress.done,
        "failed": progress.failed,
        "calls": sum(part.calls for part in parts),
        "cost_usd": None if unknown and not cost else f"{cost.normalize():f}",
        "cost_unknown_calls": unknown,
        "is_reused": reads,
    }


def _summed(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = ("calls", "input_tokens", "output_tokens", "cost_usd")
    totals: dict[str, Any] = {}
    for name in names:
        found = [needs.read(part[name]) for part in parts]
        known = [one for one in found if one is not None]
        whole = estimation.added(known) if len(known) == len(found) and known else None
        totals[name] = needs.money(whole) if name == "cost_usd" else needs.counts(whole)
    times = [needs.read(part["seconds"]) for part in parts]
    totals["seconds"] = needs.seconds(needs.longest(times))
    return totals
