"""Counts what a job that reuses completions would have to buy, by looking its cells up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from hikaku.errors import InvalidInput
from hikaku.specs import Snapshot
from hikaku.storage import completions
from hikaku.storage.completions import RequestHash
from hikaku.storage.tables import DatasetRow
from hikaku.templates import Message, parse

_ROWS_AT_ONCE = 100


@dataclass(slots=True, kw_only=True)
class Unbought:
    """Cells of one endpoint that no recorded completion answers."""

    by_row: dict[int, int] = field(default_factory=dict)
    """How many of each row; where equal ones are bought once, they count with the first of them."""
    n_once: int = 0
    """Hashes that one cell has."""
    n_again: int = 0
    """Hashes that several cells have, which are bought once."""


def count(
    session: Session, job: Snapshot, bucket: int, rows: Sequence[int] | None
) -> list[Unbought]:
    """Look up the cells of some rows, or of all, for each endpoint of a job.

    Args:
        session: Reads only.
        job: What is asked.
        bucket: Of its dataset revision.
        rows: Those that are looked at; None for all.
    """
    hashes = [RequestHash(endpoint) for endpoint in job.endpoints]
    seen: list[dict[bytes, int]] = [{} for _ in hashes]
    found = [Unbought() for _ in hashes]
    for some in _rendered(session, job, bucket, rows):
        for position, of in enumerate(hashes):
            addressed = [
                (of.of([(m.role, m.content) for m in messages], repeat), row)
                for row, messages in some
                for repeat in range(job.repeats)
            ]
            known = completions.known_of(session, [digest for digest, _ in addressed])
            for digest, row in addressed:
                if digest in known:
                    continue
                times = seen[position][digest] = seen[position].get(digest, 0) + 1
                if times == 1 or not job.reuse.writes:  # else a later one finds it recorded
                    by_row = found[position].by_row
                    by_row[row] = by_row.get(row, 0) + 1
    for one, all_times in zip(found, seen, strict=True):
        one.n_once = sum(n == 1 for n in all_times.values())
        one.n_again = len(all_times) - one.n_once if job.reuse.writes else 0
    return found


def contents(session: Session, job: Snapshot, bucket: int, rows: Sequence[int]) -> list[list[str]]:
    """Render some rows: the texts of the messages of each."""
    return [
        [message.content for message in messages]
        for some in _rendered(session, job, bucket, rows)
        for _, messages in some
    ]


def _rendered(
    session: Session, job: Snapshot, bucket: int, rows: Sequence[int] | None
) -> Iterator[list[tuple[int, tuple[Message, ...]]]]:
    """Render rows, some at a time; without those that cannot be asked."""
    template = parse([(message.role, message.content) for message in job.prompt.messages])
    statement = (
        select(DatasetRow.row, DatasetRow.data)
        .where(DatasetRow.bucket == bucket, DatasetRow.revision_id == job.dataset.id)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    if rows is not None:
        statement = statement.where(DatasetRow.row.in_(rows))
    for part in session.execute(statement.order_by(DatasetRow.row)).partitions():
        some = []
        for row, variables in part:
            try:
                some.append((row, template.render(variables, row=row)))
            except InvalidInput:
                continue
        yield some
