"""Datasets: a revision is stored whole, in one transaction, and never changes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import Row, ScalarSelect, Select, Text, and_, cast, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from hikaku import ids
from hikaku.datasets import Fingerprint, SourceRow, inline_rows
from hikaku.errors import Fault, InvalidInput, NotFound
from hikaku.specs import SnapshotDataset
from hikaku.storage import buckets
from hikaku.storage.connection import driver
from hikaku.storage.tables import Dataset, DatasetRevision, DatasetRow

OPEN_BUCKET = 0
"""The partition of files: they are forgotten by age, each by itself."""

MAX_ROWS = 1_000_000
"""Rows of one revision."""

MOST_COPIED = 100_000
"""Rows that are copied to put some more behind them."""

_COPY = "copy dataset_row (bucket, revision_id, row, key, data) from stdin (format binary)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A stored list of rows."""

    id: str
    name: str | None
    """None for the rows that came inside a job or were uploaded without a name."""
    number: int | None
    n_rows: int
    columns: tuple[str, ...]
    fingerprint: bytes
    source: str | None
    bucket: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What came of storing rows."""

    revision: Revision
    is_new: bool
    """False when the name already had a revision with the same content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRow:
    """One row of a revision."""

    number: int
    key: str
    data: dict[str, Any]


@dataclass(slots=True)
class _Tally:
    """What is learnt of the rows while they pass."""

    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    columns: dict[str, None] = field(default_factory=dict)
    n_rows: int = 0

    def watch(self, rows: Iterable[SourceRow]) -> Iterator[SourceRow]:
        for row in rows:
            if self.n_rows == MAX_ROWS:
                raise InvalidInput(f"a dataset revision holds at most {MAX_ROWS:,} rows; split it")
            self.fingerprint.update(row.text)
            if not self.columns.keys() >= row.data.keys():
                self.columns |= dict.fromkeys(row.data)
            self.n_rows += 1
            yield row


def store(
    session: Session, rows: Iterable[SourceRow], *, name: str | None, source: str | None = None
) -> Stored:
    """Store the rows as the next revision of the name, or as one without a name.

    Rows are read once and never held. Content that the name already has is not stored again.

    Raises:
        InvalidInput: A row is refused, or there is none; the caller's transaction must end.
    """
    tally, revision_id = _Tally(), ids.new_id(ids.DATASET_REVISION)
    bucket = buckets.current(session)
    savepoint = session.begin_nested()
    _copy(session, bucket, revision_id, tally.watch(rows))
    if not tally.n_rows:
        raise InvalidInput("there are no rows in this dataset")
    key = None if name is None else _claimed(session, name)
    known = None if key is None else _with_content(session, key, tally.fingerprint.digest())
    if known is not None:
        savepoint.rollback()
        return Stored(revision=_revision(known, name), is_new=False)
    added = _add(session, (bucket, revision_id), key, tally, source)
    savepoint.commit()
    return Stored(revision=_revision(added, name), is_new=True)


def add_inline(session: Session, given: Sequence[Mapping[str, object]]) -> Revision:
    """Store the rows that came inside a job, as a revision without a name.

    Raises:
        InvalidInput: A row is refused; points at `/rows/N`.
    """
    return store(session, inline_rows(given), name=None).revision


def append_inline(
    session: Session, revision: Revision, given: Sequence[Mapping[str, object]]
) -> Revision:
    """Store the rows of a revision with more behind them, as one without a name.

    Raises:
        InvalidInput: A row is refused, or the revision is too long to be copied for some rows.
    """
    if revision.n_rows > MOST_COPIED:
        message = f"more than {MOST_COPIED:,} rows are not copied; store a longer revision"
        raise InvalidInput(message, faults=[Fault(pointer="/rows", message=message)])
    before = _source_rows(session, revision)
    return store(session, chain(before, inline_rows(given)), name=None).revision


def first_difference(session: Session, old: Revision, new: Revision) -> int | None:
    """Find the first row of a revision that another has not, or not the same."""
    before, then = aliased(DatasetRow), aliased(DatasetRow)
    other = and_(then.bucket == new.bucket, then.revision_id == new.id, then.row == before.row)
    return session.scalar(
        select(func.min(before.row))
        .outerjoin(then, other)
        .where(
            before.bucket == old.bucket,
            before.revision_id == old.id,
            cast(before.data, Text).is_distinct_from(cast(then.data, Text)),
        )
    )


def _source_rows(session: Session, revision: Revision) -> list[SourceRow]:
    written = cast(DatasetRow.data, Text).label("written")
    columns = (DatasetRow.row, DatasetRow.key, DatasetRow.data, written)
    query = (
        select(*columns)
        .where(DatasetRow.bucket == revision.bucket, DatasetRow.revision_id == revision.id)
        .order_by(DatasetRow.row)
    )
    return [
        SourceRow(number=number, key=key, data=data, text=text)
        for number, key, data, text in session.execute(query)
    ]


def get(session: Session, revision_id: str) -> Revision:
    """Give the revision with this id.

    Raises:
        NotFound: There is none.
    """
    _check(revision_id)
    query = _revisions().where(DatasetRevision.id == revision_id)
    found = session.execute(query).one_or_none()
    if found is None:
        raise NotFound(f"there is no dataset revision {revision_id}")
    return _from(found)


def by_name(session: Session, name: str, number: int | None = None) -> Revision:
    """Give a revision of the named dataset, the newest when no number is given.

    Raises:
        NotFound: There is no such dataset or revision.
    """
    query = _revisions().where(Dataset.name == name)
    if number is not None:
        query = query.where(DatasetRevision.number == number)
    newest = query.order_by(DatasetRevision.number.desc()).limit(1)
    found = session.execute(newest).one_or_none()
    if found is None:
        which = "" if number is None else f" with revision {number}"
        raise NotFound(f"there is no dataset {name!r}{which}")
    return _from(found)


def listing(
    session: Session, *, after: str | None, limit: int, name: str | None = None
) -> Sequence[Revision]:
    """Give the revisions that have a name, newest first, from the one after `after`."""
    query = _revisions().where(DatasetRevision.dataset_key.is_not(None))
    if after is not None:
        query = query.where(DatasetRevision.id < after)
    if name is not None:
        query = query.where(Dataset.name == name)
    query = query.order_by(DatasetRevision.id.desc()).limit(limit)
    return [_from(found) for found in session.execute(query)]


def snapshot(session: Session, revision: Revision) -> SnapshotDataset:
    """Write down which rows a job runs."""
    del session  # all of it is in the revision
    return SnapshotDataset(
        id=revision.id,
        name=revision.name,
        revision=revision.number,
        n_rows=revision.n_rows,
        fingerprint=revision.fingerprint.hex(),
    )


def rows(
    session: Session, revision: Revision, *, after: int | None, limit: int
) -> Sequence[StoredRow]:
    """Give rows in order, from the one after number `after`."""
    query = (
        select(DatasetRow.row, DatasetRow.key, DatasetRow.data)
        .where(DatasetRow.bucket == revision.bucket, DatasetRow.revision_id == revision.id)
        .where(DatasetRow.row > (-1 if after is None else after))
        .order_by(DatasetRow.row)
        .limit(limit)
    )
    found = session.execute(query)
    return [StoredRow(number=number, key=key, data=data) for number, key, data in found]


def _copy(
    session: Session, bucket: int, revision_id: str, source_rows: Iterator[SourceRow]
) -> None:
    connection = driver(session)
    key = ids.decode(ids.DATASET_REVISION, revision_id)
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        # The json column takes its text as it is: parsed again by Postgres, not by psycopg.
        copy.set_types(["int2", "uuid", "int4", "text", "text"])
        for number, row in enumerate(source_rows):
            copy.write_row((bucket, key, number, row.key, row.text))


def bucket_of(revision_id: str) -> ScalarSelect[int]:
    """Say inside a statement where the rows of a revision lie; those of its jobs may lie newer."""
    found = select(DatasetRevision.bucket).where(DatasetRevision.id == revision_id)
    return found.scalar_subquery()


def _claimed(session: Session, name: str) -> int:
    """Lock the name, so that its revisions are numbered in turn."""
    session.execute(insert(Dataset).values(name=name).on_conflict_do_nothing())
    return session.scalars(select(Dataset.key).where(Dataset.name == name).with_for_update()).one()


def _with_content(session: Session, key: int, fingerprint: bytes) -> DatasetRevision | None:
    return session.scalars(
        select(DatasetRevision)
        .where(DatasetRevision.dataset_key == key, DatasetRevision.fingerprint == fingerprint)
        .order_by(DatasetRevision.number.desc())
        .limit(1)
    ).one_or_none()


def _add(
    session: Session, at: tuple[int, str], key: int | None, tally: _Tally, source: str | None
) -> DatasetRevision:
    bucket, revision_id = at
    newest = select(func.max(DatasetRevision.number)).where(DatasetRevision.dataset_key == key)
    added = DatasetRevision(
        id=revision_id,
        dataset_key=key,
        number=None if key is None else (session.scalar(newest) or 0) + 1,
        bucket=bucket,
        fingerprint=tally.fingerprint.digest(),
        n_rows=tally.n_rows,
        columns=list(tally.columns),
        source=source,
    )
    session.add(added)
    session.flush()
    return added


def _revisions() -> Select[DatasetRevision, str | None]:
    return select(DatasetRevision, Dataset.name).outerjoin(
        Dataset, Dataset.key == DatasetRevision.dataset_key
    )


def _check(revision_id: str) -> None:
    try:
        ids.decode(ids.DATASET_REVISION, revision_id)
    except ValueError as error:
        raise NotFound(f"there is no dataset revision {revision_id!r}") from error


def _from(found: Row[DatasetRevision, str | None]) -> Revision:
    revision, name = found
    return _revision(revision, name)


def _revision(found: DatasetRevision, name: str | None) -> Revision:
    return Revision(
        id=found.id,
        name=name,
        number=found.number,
        n_rows=found.n_rows,
        columns=tuple(found.columns),
        fingerprint=found.fingerprint,
        source=found.source,
        bucket=found.bucket,
        created_at=found.created_at,
    )
