"""Gives a job that is there a budget, or more of it, and lets it go on."""

from decimal import Decimal

from sqlalchemy.orm import Session

from hikaku.errors import Conflict, Fault, InvalidInput
from hikaku.jobs import Hint, JobState
from hikaku.numbers import MOST_USD
from hikaku.pricing import unbounded
from hikaku.storage import budgets, control, jobs
from hikaku.storage.tables import BudgetKind, Job


def top_up(
    session: Session,
    job_id: str,
    *,
    add: Decimal | None = None,
    limit: Decimal | None = None,
    resume: bool = True,
) -> tuple[Hint, ...]:
    """Raise or set what a job may cost.

    Args:
        session: The transaction; commit it, then publish the hints.
        job_id: The job.
        add: So much more than its limit; of a job without a budget, so much from now on.
        limit: Its limit from now on; below what is spent, nothing more is asked.
        resume: Let it go on if it paused because of its budget or its project's.

    Raises:
        NotFound: There is no such job.
        InvalidInput: Nothing bounds what its calls can cost, or the limit would be too high.
        Conflict: It has ended: what was retried or extended can be topped up then.
    """
    job = jobs.get(session, job_id, lock=True)
    if JobState(job.state).is_final:
        raise Conflict(f"the job is {job.state}: there is nothing left to pay; retry or extend it")
    _check(job)
    now = budgets.funds(session, BudgetKind.JOB, job_id)
    usd = limit if limit is not None else _raised(now.limit_usd if now else Decimal(0), add)
    budgets.set_limit(session, BudgetKind.JOB, job_id, usd)
    jobs.note(
        session, job_id, "control", {"control": "budget", "limit_usd": f"{usd.normalize():f}"}
    )
    if not (resume and job.state == JobState.PAUSED and job.paused_for is not None):
        return ()
    control.resume(session, job_id)
    return control.publish(session, job_id)


def _raised(limit: Decimal, add: Decimal | None) -> Decimal:
    usd = limit + (add or Decimal(0))
    if usd > MOST_USD:
        message = f"the limit would be {usd.normalize():,f} USD; no limit is above {MOST_USD:,f}"
        raise InvalidInput(message, faults=[Fault(pointer="/add_usd", message=message)])
    return usd


def _check(job: Job) -> None:
    snapshot = jobs.snapshot(job)
    faults = [
        Fault(pointer=f"/endpoints/{position}", message=reason)
        for position, endpoint in enumerate(snapshot.endpoints)
        if (reason := unbounded(snapshot, endpoint)) is not None
    ]
    if faults:
        raise InvalidInput("no budget can hold the calls of this job", faults=faults)
