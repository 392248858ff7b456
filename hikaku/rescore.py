"""Judges a job's completions by other scorers: a new job whose cells are all copied, none asked.

Results never change, so other scorers are another job: the two stand side by side in a comparison,
and each says which scorers, in which version, gave its scores.
"""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from hikaku.errors import Conflict
from hikaku.jobs import JobState
from hikaku.planning import plan
from hikaku.resolving import check_variables, resolve_scorers
from hikaku.specs import Reuse, ScorerSpec, Snapshot
from hikaku.storage import datasets, jobs
from hikaku.submission import Submitted, store


def rescore(
    session: Session, job_id: str, scorers: Sequence[ScorerSpec], *, slots: int = 16
) -> Submitted:
    """Store the job that judges another's completions anew, in the caller's transaction.

    Raises:
        NotFound: There is no such job.
        InvalidInput: A scorer is unknown or wrong, or no row has what it compares with.
        Conflict: The job has not ended, or is a pilot that tried some rows alone.
    """
    job = jobs.get(session, job_id, lock=True)
    if not JobState(job.state).is_final:
        raise Conflict(
            f"the job is {job.state}: rescore it when it has ended, or extend it by scorers now"
        )
    source = jobs.snapshot(job)
    _check_whole(source, job.n_cells)
    judges = resolve_scorers(scorers)
    check_variables(source.prompt, judges, datasets.get(session, source.dataset.id))
    snapshot = source.model_copy(
        update={
            "scorers": judges,
            "rescored_from": job_id,
            "reuse": Reuse.OFF,
            "extensions": (),
        }
    )
    planned = plan(source.dataset.n_rows, len(source.endpoints), source.repeats, slots=slots)
    name = f"{job.name} · {', '.join(judge.name for judge in judges)}"[:200]
    submitted = store(session, snapshot, planned, name=name, priority=job.priority)
    jobs.note(session, job_id, "control", {"control": "rescore", "job": submitted.job_id})
    return submitted


def _check_whole(source: Snapshot, n_cells: int) -> None:
    if n_cells != source.dataset.n_rows * len(source.endpoints) * source.repeats:
        raise Conflict("a pilot tried some rows alone; rescore the job that runs them all")
