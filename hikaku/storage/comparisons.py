"""Reads what comparisons need of a job: numbers in arrays, never a completion."""

from collections.abc import Sequence

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from hikaku.comparison import ColumnScores, RowScores, average_repeats
from hikaku.specs import Snapshot
from hikaku.statistics import Scores
from hikaku.storage import jobs
from hikaku.storage.jobs import EndpointProgress, Progress
from hikaku.storage.tables import CellResult, DatasetRow, Job, Score

_AT_ONCE = 10_000
"""Scores fetched at once."""


def column_scores(session: Session, job: Job) -> list[ColumnScores]:
    """Read the columns of a job, one for each of its endpoints, in their order."""
    snapshot = jobs.snapshot(job)
    keys = _row_keys(session, job)
    progress = jobs.progress(session, [job.id]).get(job.id, Progress())
    return [
        _column(session, job, snapshot, n, keys=keys, done=progress.endpoints.get(n))
        for n in range(len(snapshot.endpoints))
    ]


def _column(
    session: Session,
    job: Job,
    snapshot: Snapshot,
    number: int,
    *,
    keys: Sequence[str],
    done: EndpointProgress | None,
) -> ColumnScores:
    endpoint = snapshot.endpoints[number]
    return ColumnScores(
        job=job.id,
        endpoint=endpoint.name,
        model=endpoint.model,
        dataset=snapshot.dataset.fingerprint,
        row_keys=keys,
        n_cells=len(keys) * snapshot.repeats,
        outcomes={} if done is None else {o: n for o, n in done.counts.items() if n},
        scores={
            scorer.name: _row_scores(session, job, snapshot, number, position)
            for position, scorer in enumerate(snapshot.scorers)
        },
        latencies_ms=_latencies(session, job, number),
        # No provider answers in no tokens: a sum of none means that nobody reported any.
        input_tokens=None if done is None else done.input_tokens or None,
        output_tokens=None if done is None else done.output_tokens or None,
        cost_usd=None if done is None or done.cost_unknown_calls else done.cost_usd,
    )


def _row_keys(session: Session, job: Job) -> list[str]:
    statement = (
        select(DatasetRow.key)
        .where(DatasetRow.bucket == job.bucket, DatasetRow.revision_id == job.revision_id)
        .order_by(DatasetRow.row)
    )
    return list(session.scalars(statement))


def _row_scores(
    session: Session, job: Job, snapshot: Snapshot, endpoint: int, position: int
) -> RowScores:
    scorer = snapshot.scorers[position]
    statement = select(Score.row, Score.value).where(
        Score.bucket == job.bucket,
        Score.job_id == job.id,
        Score.scorer == position,
        Score.endpoint == endpoint,
    )
    found = session.execute(statement.execution_options(yield_per=_AT_ONCE))
    values = ((row, value) for row, value in found)
    means, n_scored = average_repeats(snapshot.dataset.n_rows, values)
    return RowScores(
        type=scorer.type,
        version=scorer.version,
        options=scorer.options,
        target=scorer.target,
        means=means,
        n_scored=n_scored,
    )


def _latencies(session: Session, job: Job, endpoint: int) -> Scores:
    statement = select(CellResult.latency_ms).where(
        CellResult.bucket == job.bucket,
        CellResult.job_id == job.id,
        CellResult.endpoint == endpoint,
        CellResult.latency_ms.is_not(None),
        ~CellResult.reused,
    )
    found = session.scalars(statement.execution_options(yield_per=_AT_ONCE))
    return np.fromiter((value for value in found if value is not None), dtype=np.float64)
