"""Files: kept in pieces, written once, read as streams."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, insert, or_, select
from sqlalchemy import delete as delete_rows
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.errors import InvalidInput, NotFound
from hikaku.storage.connection import Sessions
from hikaku.storage.datasets import OPEN_BUCKET
from hikaku.storage.tables import File, FileChunk

CHUNK_BYTES = 512 * 1024
"""Of one piece; what a reader or a writer holds of a file."""

_FORGOTTEN_AT_ONCE = 20


class FileTooLarge(InvalidInput):
    """More bytes than a file may have; the caller's transaction must end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file, without its content."""

    id: str
    name: str
    purpose: str
    n_bytes: int
    created_at: datetime
    expires_at: datetime | None


class FileWriter:
    """Writes one file in the caller's transaction."""

    def __init__(self, session: Session) -> None:
        self.id = ids.new_id(ids.FILE)
        self.n_bytes = 0
        self._session = session
        self._waiting = bytearray()
        self._number = 0

    def write(self, content: bytes) -> None:
        """Add to its end."""
        self._waiting += content
        self.n_bytes += len(content)
        while len(self._waiting) >= CHUNK_BYTES:
            self._put(bytes(self._waiting[:CHUNK_BYTES]))
            del self._waiting[:CHUNK_BYTES]

    def close(self, *, name: str, purpose: str, lifetime: timedelta | None) -> StoredFile:
        """Finish it; None of it is there before the caller commits."""
        if self._waiting:
            self._put(bytes(self._waiting))
        file = File(
            id=self.id,
            bucket=OPEN_BUCKET,
            name=name,
            purpose=purpose,
            n_bytes=self.n_bytes,
            expires_at=None if lifetime is None else func.now() + lifetime,
        )
        self._session.add(file)
        self._session.flush()
        self._session.refresh(file)
        return _stored(file)

    def _put(self, piece: bytes) -> None:
        line = {
            "bucket": OPEN_BUCKET, "file_id": self.id, "number": self._number, "content": piece,
        }  # fmt: skip
        self._session.execute(insert(FileChunk), [line])
        self._number += 1


def store(session: Session, chunks: Iterable[bytes], *, most: int) -> FileWriter:
    """Write all chunks into a file, which is still to be closed.

    Raises:
        FileTooLarge: They are more than `most` bytes.
    """
    writer = FileWriter(session)
    for chunk in chunks:
        if writer.n_bytes + len(chunk) > most:
            raise FileTooLarge(f"the file is larger than the {most // 2**20} MiB that are taken")
        writer.write(chunk)
    return writer


def get(session: Session, file_id: str) -> StoredFile:
    """Give a file.

    Raises:
        NotFound: There is none, or its time is over.
    """
    return _stored(_get(session, file_id))


def listing(
    session: Session,
    *,
    after: str | None = None,
    limit: int,
    newest_first: bool = True,
    purpose: str | None = None,
) -> Sequence[StoredFile]:
    """Give files in the order in which they were made, from the one after `after`."""
    statement = select(File).where(_is_there()).limit(limit)
    order = File.id.desc() if newest_first else File.id
    if after is not None:
        statement = statement.where(File.id < after if newest_first else File.id > after)
    if purpose is not None:
        statement = statement.where(File.purpose == purpose)
    return [_stored(file) for file in session.scalars(statement.order_by(order))]


def delete(session: Session, file_id: str) -> None:
    """Remove a file and its content.

    Raises:
        NotFound: There is none.
    """
    _remove(session, _get(session, file_id))


def forget_expired(session: Session) -> None:
    """Remove some of the files whose time is over."""
    over = select(File).where(File.expires_at <= func.now()).limit(_FORGOTTEN_AT_ONCE)
    for file in session.scalars(over.with_for_update(skip_locked=True)):
        _remove(session, file)


def content(sessions: Sessions, file_id: str) -> Iterator[bytes]:
    """Read a file piece by piece, each in a transaction of its own.

    Raises:
        NotFound: There is none, or it was deleted on the way.
    """
    with sessions() as session:
        file = get(session, file_id)
    number = read = 0
    while read < file.n_bytes:
        with sessions() as session:
            piece = session.scalar(
                select(FileChunk.content).where(
                    FileChunk.bucket == OPEN_BUCKET,
                    FileChunk.file_id == file_id,
                    FileChunk.number == number,
                )
            )
        if piece is None:
            raise NotFound(f"the file {file_id} was deleted while it was read")
        yield piece
        number, read = number + 1, read + len(piece)


def _get(session: Session, file_id: str) -> File:
    try:
        ids.decode(ids.FILE, file_id)
    except ValueError as error:
        raise NotFound(f"there is no file {file_id!r}") from error
    file = session.scalar(select(File).where(File.id == file_id, _is_there()))
    if file is None:
        raise NotFound(f"there is no file {file_id}")
    return file


def _is_there() -> ColumnElement[bool]:
    return or_(File.expires_at.is_(None), File.expires_at > func.now())


def _remove(session: Session, file: File) -> None:
    session.execute(
        delete_rows(FileChunk).where(FileChunk.bucket == file.bucket, FileChunk.file_id == file.id)
    )
    session.execute(delete_rows(File).where(File.id == file.id))


def _stored(file: File) -> StoredFile:
    return StoredFile(
        id=file.id,
        name=file.name,
        purpose=file.purpose,
        n_bytes=file.n_bytes,
        created_at=file.created_at,
        expires_at=file.expires_at,
    )
