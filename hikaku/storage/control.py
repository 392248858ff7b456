"""What people do with a job that is there: pause, resume, cancel, ask failed cells again.

Each is one transaction under the lock of the job's row, so of two at once one comes first, and
the other finds what that has left. Each is an event of the job.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.errors import Conflict, Fault, InvalidInput
from hikaku.jobs import (
    FAILED_OUTCOMES,
    RETRIED_OUTCOMES,
    Control,
    Hint,
    JobState,
    Outcome,
    ShardState,
    after,
)
from hikaku.planning import MAX_SHARD_CELLS
from hikaku.specs import Execution
from hikaku.storage import jobs, offloads
from hikaku.storage.connection import driver
from hikaku.storage.results import CellKey
from hikaku.storage.tables import RECORDED, CellResult, Job, Shard

PUBLISHED_AT_ONCE = 64
"""Shards published with what makes them; the sweep feeds the rest as these are taken."""

_SHOWN = 5
"""Cells that a complaint names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Which failed cells: those that fit all that is given; empty means any.

    Those that were never asked, because the job was cancelled, are meant when `cancelled` is
    named; those of a shard that could not be run have failed as well.
    """

    outcomes: Sequence[Outcome] = ()
    endpoints: Sequence[int] = ()
    """Positions in the job."""
    cells: Sequence[CellKey] = ()

    @property
    def wanted(self) -> list[Outcome]:
        """The outcomes, written out."""
        return list(self.outcomes) or sorted(FAILED_OUTCOMES)

    @property
    def unfinished(self) -> list[ShardState]:
        """How shards ended whose cells without an outcome are meant."""
        if self.cells:
            return []
        if Outcome.CANCELLED in self.outcomes:
            return [ShardState.CANCELLED, ShardState.DEAD]
        return [] if self.outcomes else [ShardState.DEAD]


def pause(session: Session, job_id: str, *, reason: str | None = None) -> Job:
    """Let no new call start; calls in flight finish, and their shards go back to the queue.

    Args:
        session: The transaction.
        job_id: The job.
        reason: Why, when it was not a person.

    Raises:
        NotFound: There is no such job.
        Conflict: It has ended, or is being cancelled.
    """
    job = jobs.get(session, job_id, lock=True)
    if _moved(session, job, Control.PAUSE, {"reason": reason} if reason else {}):
        _take_back(session, job)
        jobs.close_if_ended(session, job_id)  # there may have been nothing left to pause
    return job


def resume(session: Session, job_id: str) -> Job:
    """Let a paused job go on; publish its shards after the commit.

    Raises:
        NotFound: There is no such job.
        Conflict: It has ended, or is being cancelled.
    """
    job = jobs.get(session, job_id, lock=True)
    if _moved(session, job, Control.RESUME, {}):
        jobs.close_if_ended(session, job_id)
    return job


def cancel(session: Session, job_id: str) -> Job:
    """Stop a job: shards nobody has claimed end here, the others when their calls in flight do.

    What is at a vendor as a batch is called off there, and what it answered all the same recorded.

    Raises:
        NotFound: There is no such job.
        Conflict: It has ended already.
    """
    job = jobs.get(session, job_id, lock=True)
    if _moved(session, job, Control.CANCEL, {}):
        cancel_unclaimed(session)
        offloads.hurry(session, job_id)
        jobs.close_if_ended(session, job_id)
    return job


def cancel_unclaimed(session: Session) -> None:
    """End the queued shards of jobs that are being cancelled.

    A shard that somebody holds at this moment is passed over: a claim takes its shard before its
    job, so waiting for it here could wait for ever. The sweep comes by again.
    """
    unclaimed = (
        select(Shard.id)
        .join(Job, Job.id == Shard.job_id)
        .where(Shard.state == ShardState.QUEUED, Job.state == JobState.CANCELLING)
        .with_for_update(of=Shard, skip_locked=True)
    )
    session.execute(
        update(Shard)
        .where(Shard.id.in_(unclaimed))
        .values(state=ShardState.CANCELLED, finished_at=func.now(), published_at=None)
    )


def retry_failed(session: Session, job_id: str, which: Failed = Failed()) -> tuple[Job, int]:
    """Put failed cells of an ended job back to work; their old results stay until then.

    Cells that were never asked have none: the shards that hold them wait again.

    Args:
        session: The transaction.
        job_id: The job.
        which: Which of them; every one if left out.

    Returns:
        The job and how many cells are asked again.

    Raises:
        InvalidInput: An outcome or a named cell is no failure.
        Conflict: The job has not ended, or no cell failed so.
    """
    _check_outcomes(which)
    job = jobs.get(session, job_id, lock=True)
    then = after(Control.RETRY, JobState(job.state))
    failed = _failed_cells(session, job, which)
    n_cells = sum(map(len, failed.values())) + _put_back(session, job, which)
    if not n_cells:
        raise Conflict(_nothing(session, job, which))
    job.round += 1
    jobs.note(session, job.id, "control", _request(Control.RETRY, _told(job, which, n_cells)))
    reopen(session, job, then)
    for endpoint, cells in failed.items():
        for start in range(0, len(cells), MAX_SHARD_CELLS):
            session.add(_retry_shard(job, endpoint, cells[start : start + MAX_SHARD_CELLS]))
    session.flush()
    return job, n_cells


def reopen(session: Session, job: Job, then: JobState) -> None:
    """Bring a job to the state in which it goes on."""
    if job.state != then:
        job.state, job.finished_at, job.error = then, None, None
        jobs.announce(session, job.id, then)
    session.flush()


def publish(session: Session, job_id: str) -> tuple[Hint, ...]:
    """Mark the first shards of a job as published; publish the hints after the commit."""
    first = (
        select(Shard.id)
        .join(Job, Job.id == Shard.job_id)
        .where(
            Shard.job_id == job_id,
            Shard.state == ShardState.QUEUED,
            Shard.not_before <= func.now(),
            Job.state.in_((JobState.QUEUED, JobState.RUNNING)),
        )
        .order_by(Shard.id)
        .limit(PUBLISHED_AT_ONCE)
        .with_for_update(of=Shard, skip_locked=True)
    )
    marked = (
        update(Shard)
        .where(Shard.id.in_(first))
        .values(published_at=func.now())
        .returning(Shard.id, Shard.priority)
    )
    return tuple(Hint(shard_id=s, priority=p) for s, p in sorted(session.execute(marked)))


def _moved(session: Session, job: Job, control: Control, told: dict[str, Any]) -> bool:
    """Move a job as a control says; False when it stands there already."""
    then = after(control, JobState(job.state))
    if then is JobState.RUNNING and job.started_at is None:
        then = JobState.QUEUED
    if then == job.state:
        if control is Control.PAUSE and job.paused_for is not None and not told:
            _keep_paused(session, job)
        return False
    jobs.note(session, job.id, "control", _request(control, told))
    job.state, job.paused_for = then, None
    jobs.announce(session, job.id, then)
    session.flush()
    return True


def _keep_paused(session: Session, job: Job) -> None:
    """Let a person's pause hold a job that its budget stopped: money alone does not end it."""
    jobs.note(session, job.id, "control", _request(Control.PAUSE, {}))
    job.paused_for = None
    session.flush()


def _request(control: Control, told: dict[str, Any]) -> dict[str, Any]:
    return {"control": control.value, **told}


def _take_back(session: Session, job: Job) -> None:
    """Unpublish what waits, so that the hints of a paused job do not fill the broker's window."""
    waiting = (
        select(Shard.id)
        .where(
            Shard.job_id == job.id,
            Shard.state == ShardState.QUEUED,
            Shard.published_at.is_not(None),
        )
        .with_for_update(skip_locked=True)
    )
    session.execute(update(Shard).where(Shard.id.in_(waiting)).values(published_at=None))


def _check_outcomes(which: Failed) -> None:
    faults = [
        Fault(
            pointer=f"/outcomes/{at}",
            message=f"cells that ended {outcome} have not failed and are not retried",
        )
        for at, outcome in enumerate(which.outcomes)
        if outcome not in RETRIED_OUTCOMES
    ]
    if faults:
        raise InvalidInput(faults[0].message, faults=faults)


_PUT_BACK = f"""
update shard s
   set state = 'queued', claims = 0, error = null, published_at = null, finished_at = null,
       not_before = now(),
       n_cells = case s.kind when 'ask' then {RECORDED} + ended.unasked else s.n_cells end
  from (select q.id, (q.row_to - q.row_from) * (q.repeat_to - q.repeat_from) - (
                  select count(*) from cell_result c
                   where c.bucket = j.bucket and c.job_id = q.job_id and c.endpoint = q.endpoint
                     and c.row >= q.row_from and c.row < q.row_to
                     and c.repeat >= q.repeat_from and c.repeat < q.repeat_to) as unasked
          from shard q join job j on j.id = q.job_id
         where q.job_id = %(job)s and q.state = any(%(states)s) and q.rows is null
           and (%(everywhere)s or q.endpoint = any(%(endpoints)s))) ended
 where ended.id = s.id and (s.kind = 'score' or ended.unasked > 0)
returning case s.kind when 'ask' then ended.unasked else 0 end
"""  # noqa: S608 - names of columns
# Counted by the rows: results that a retry replaced count on its own shard.


def _put_back(session: Session, job: Job, which: Failed) -> int:
    """Let shards wait again that ended before all was asked; gives how many cells that is."""
    if not which.unfinished:
        return 0
    wanted = {
        "job": ids.decode(ids.JOB, job.id),
        "states": [state.value for state in which.unfinished],
        "everywhere": not which.endpoints,
        "endpoints": list(which.endpoints),
    }
    return sum(int(unasked) for (unasked,) in driver(session).execute(_PUT_BACK, wanted))


def _nothing(session: Session, job: Job, which: Failed) -> str:
    """Say that there is nothing to ask, and what could be asked."""
    told = _told(job, which, 0)
    on = f" on {', '.join(told['endpoints'])}" if which.endpoints else ""
    nothing = f"no cell of job {job.id}{on} ended {', '.join(which.wanted)}"
    recorded = jobs.progress(session, [job.id]).get(job.id, jobs.Progress())
    unasked = job.n_cells - recorded.done
    if unasked <= 0 or Outcome.CANCELLED in which.outcomes:
        return nothing
    return f"{nothing}; {unasked} were never asked: the outcome `cancelled` asks them"


def _failed_cells(session: Session, job: Job, which: Failed) -> dict[int, list[tuple[int, int]]]:
    place = (CellResult.endpoint, CellResult.row, CellResult.repeat)
    statement = (
        select(*place)
        .where(
            CellResult.bucket == job.bucket,
            CellResult.job_id == job.id,
            CellResult.outcome.in_(which.wanted),
        )
        .order_by(*place)
    )
    if which.endpoints:
        statement = statement.where(CellResult.endpoint.in_(which.endpoints))
    if which.cells:
        statement = statement.where(tuple_(*place).in_([tuple(cell) for cell in which.cells]))
    found = [CellKey(*key) for key in session.execute(statement)]
    _check_named(which, set(found))
    cells: dict[int, list[tuple[int, int]]] = {}
    for cell in found:
        cells.setdefault(cell.endpoint, []).append((cell.row, cell.repeat))
    return cells


def _check_named(which: Failed, found: set[CellKey]) -> None:
    """Refuse named cells that are not to be retried: who names one wants that one."""
    missing = [(at, cell) for at, cell in enumerate(which.cells) if cell not in found]
    if not missing:
        return
    wanted = ", ".join(which.wanted)
    faults = [
        Fault(
            pointer=f"/cells/{at}",
            message=f"cell {'.'.join(map(str, cell))} did not end {wanted}; leave it out",
        )
        for at, cell in missing[:_SHOWN]
    ]
    raise InvalidInput(f"{len(missing)} of the named cells are not retried", faults=faults)


def _told(job: Job, which: Failed, n_cells: int) -> dict[str, Any]:
    kept = jobs.snapshot(job)
    names = [endpoint.name for endpoint in kept.endpoints]
    told: dict[str, Any] = {"n_cells": n_cells, "round": job.round}
    if kept.execution is not Execution.ONLINE:
        told["in_batches"] = 0  # what failed there is asked online
    if which.outcomes:
        told["outcomes"] = [outcome.value for outcome in which.outcomes]
    if which.endpoints:
        told["endpoints"] = [names[position] for position in which.endpoints]
    if which.cells:
        told["cells"] = len(set(which.cells))
    return told


def _retry_shard(job: Job, endpoint: int, cells: Sequence[tuple[int, int]]) -> Shard:
    return Shard(
        job_id=job.id,
        endpoint=endpoint,
        row_from=cells[0][0],
        row_to=cells[-1][0] + 1,
        repeat_to=1 + max(repeat for _, repeat in cells),
        rows=[row for row, _ in cells],
        repeats=[repeat for _, repeat in cells],
        round=job.round,
        n_cells=len(cells),
        state=ShardState.QUEUED,
        priority=job.priority,
    )
