"""Reads what comparisons need of jobs: summaries in arrays, never a cell."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import overload

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session
from typing_extensions import override

from hikaku.comparison import ColumnScores, RowScores, average_repeats
from hikaku.jobs import JobState, Outcome, by_outcome
from hikaku.specs import Snapshot
from hikaku.storage import datasets, jobs, summaries
from hikaku.storage.jobs import EndpointProgress, Progress
from hikaku.storage.packed import Cells
from hikaku.storage.tables import DatasetRow, Job


class RowKeys(Sequence[str]):
    """The keys of a job's rows; read only when they are looked at.

    Jobs on the same rows are matched row by row without a look, and keys of a million rows take
    seconds.
    """

    def __init__(self, session: Session, job: Job, n_rows: int) -> None:
        self._session = session
        self._job = job
        self._n_rows = n_rows

    @cached_property
    def _keys(self) -> list[str]:
        statement = (
            select(DatasetRow.key)
            .where(
                DatasetRow.bucket == datasets.bucket_of(self._job.revision_id),
                DatasetRow.revision_id == self._job.revision_id,
            )
            .order_by(DatasetRow.row)
        )
        return list(self._session.scalars(statement))

    @override
    def __len__(self) -> int:
        return self._n_rows

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    @override
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        return self._keys[at]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)


def column_scores(
    session: Session, job: Job, known: dict[str, RowKeys] | None = None
) -> list[ColumnScores]:
    """Read the columns of a job, one for each of its endpoints, in their order.

    Args:
        session: The transaction; open for as long as the columns are compared.
        job: The job.
        known: Keys of rows by their fingerprint, shared by the jobs that are compared.
    """
    snapshot = jobs.snapshot(job)
    rows = snapshot.dataset
    shared = {} if known is None else known
    keys = shared.setdefault(rows.fingerprint, RowKeys(session, job, rows.n_rows))
    progress = jobs.progress(session, [job.id]).get(job.id, Progress())
    cells = summaries.read(session, job.id, n_scorers=len(snapshot.scorers))
    return [
        _column(job, snapshot, n, keys=keys, done=progress.endpoints.get(n), cells=cells.get(n))
        for n in range(len(snapshot.endpoints))
    ]


def _column(
    job: Job,
    snapshot: Snapshot,
    number: int,
    *,
    keys: Sequence[str],
    done: EndpointProgress | None,
    cells: Cells | None,
) -> ColumnScores:
    endpoint = snapshot.endpoints[number]
    return ColumnScores(
        job=job.id,
        endpoint=endpoint.name,
        model=endpoint.model,
        dataset=snapshot.dataset.fingerprint,
        row_keys=keys,
        n_cells=len(keys) * snapshot.repeats,
        outcomes=_outcomes(job, len(snapshot.endpoints), done),
        scores={
            scorer.name: _row_scores(snapshot, position, cells)
            for position, scorer in enumerate(snapshot.scorers)
        },
        latencies_ms=np.empty(0) if cells is None else cells.latencies,
        # No provider answers in no tokens: a sum of none means that nobody reported any.
        input_tokens=None if done is None else done.input_tokens or None,
        output_tokens=None if done is None else done.output_tokens or None,
        cost_usd=None if done is None or done.cost_unknown_calls else done.cost_usd,
    )


def _outcomes(job: Job, n_endpoints: int, done: EndpointProgress | None) -> dict[Outcome, int]:
    recorded = {} if done is None else done.counts
    counts = by_outcome(recorded, job.n_cells // n_endpoints, JobState(job.state))
    return {outcome: count for outcome, count in counts.items() if count}


def _row_scores(snapshot: Snapshot, position: int, cells: Cells | None) -> RowScores:
    scorer, n_rows = snapshot.scorers[position], snapshot.dataset.n_rows
    means, n_scored = np.full(n_rows, np.nan), 0
    if cells is not None:
        means, n_scored = average_repeats(
            n_rows, cells.rows, cells.scores[position], repeats=snapshot.repeats
        )
    return RowScores(
        type=scorer.type,
        version=scorer.version,
        options=scorer.options,
        target=scorer.target,
        means=means,
        n_scored=n_scored,
    )
