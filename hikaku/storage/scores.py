"""Scores of completions that are recorded already: what lacks one, and what is added."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from hikaku.jobs import CellScore, Outcome
from hikaku.storage import datasets
from hikaku.storage.claims import Claim
from hikaku.storage.tables import CellResult, DatasetRow, Job, Score, Shard

_ANSWERED = [outcome for outcome in Outcome if outcome.is_answered]

_JUDGED = (
    select(func.array_agg(Score.scorer))
    .where(
        Score.bucket == CellResult.bucket,
        Score.job_id == CellResult.job_id,
        Score.endpoint == CellResult.endpoint,
        Score.row == CellResult.row,
        Score.repeat == CellResult.repeat,
    )
    .correlate(CellResult)
    .scalar_subquery()
)

_ANSWERS = (
    select(CellResult.row, CellResult.repeat, CellResult.completion, DatasetRow.data, _JUDGED)
    .join(DatasetRow, DatasetRow.row == CellResult.row)
    .where(CellResult.outcome.in_(_ANSWERED), CellResult.completion.is_not(None))
)
"""Recorded completions with their rows and the scorers that have judged them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A recorded completion, its row, and the scorers that have judged it."""

    row: int
    repeat: int
    completion: str
    variables: dict[str, object]
    scorers: frozenset[int]


Place = tuple[int, int]
"""Row and repeat."""


def answers(session: Session, claimed: Claim, *, after: Place | None, limit: int) -> list[Answer]:
    """Read recorded completions of a shard's cells, by row and repeat.

    Args:
        session: The transaction.
        claimed: The shard.
        after: The last place that was read.
        limit: How many at most.
    """
    job = session.get_one(Job, claimed.job_id)
    shard = session.get_one(Shard, claimed.shard_id)
    statement = (
        _ANSWERS.where(
            # Its rows may lie in an older bucket than its cells.
            DatasetRow.bucket == datasets.bucket_of(job.revision_id),
            DatasetRow.revision_id == job.revision_id,
            CellResult.bucket == job.bucket,
            CellResult.job_id == job.id,
            CellResult.endpoint == claimed.endpoint,
            CellResult.row >= shard.row_from,
            CellResult.row < shard.row_to,
        )
        .order_by(CellResult.row, CellResult.repeat)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(tuple_(CellResult.row, CellResult.repeat) > after)
    return [
        Answer(
            row=row,
            repeat=repeat,
            completion=completion or "",
            variables=variables,
            scorers=frozenset(scorers or ()),
        )
        for row, repeat, completion, variables, scorers in session.execute(statement)
    ]


def add(
    session: Session, claimed: Claim, judged: Sequence[tuple[Answer, Sequence[CellScore]]]
) -> None:
    """Add scores to recorded completions; safe to repeat: one that is there stays."""
    bucket = session.get_one(Job, claimed.job_id).bucket
    lines = [
        {
            "bucket": bucket,
            "job_id": claimed.job_id,
            "endpoint": claimed.endpoint,
            "row": answer.row,
            "repeat": answer.repeat,
            "scorer": score.scorer,
            "value": score.value,
            "unscored": score.unscored,
            "detail": score.detail,
        }
        for answer, found in judged
        for score in found
    ]
    if lines:
        session.execute(insert(Score).on_conflict_do_nothing(), lines)
