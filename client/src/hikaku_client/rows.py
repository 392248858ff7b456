"""Rows on their way up: from lists, frames and files to JSON, a few at a time."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isnan
from numbers import Real
from pathlib import Path
from typing import Protocol, runtime_checkable

from hikaku_client.connection import encode
from hikaku_client.errors import InvalidRequest
from hikaku_client.wire import Json

MAX_INLINE_ROWS = 10_000
"""Rows that travel in the body of a job; more go up as a dataset."""

MAX_INLINE_BYTES = 4 << 20
"""Their size, written as JSON: well below the bodies that a server takes."""

_CHUNK = 1 << 16
_TYPES = {
    ".jsonl": ("jsonl", "application/x-ndjson"),
    ".ndjson": ("jsonl", "application/x-ndjson"),
    ".csv": ("csv", "text/csv"),
    ".tsv": ("tsv", "text/tab-separated-values"),
    ".json": ("json", "application/json"),
}


@runtime_checkable
class PandasLike(Protocol):
    """A pandas DataFrame, as far as it is needed here."""

    @property
    def columns(self) -> Iterable[object]:
        """Their names, in order."""
        ...

    def itertuples(self, *, index: bool, name: str | None) -> Iterable[Sequence[object]]:
        """Rows as tuples."""
        ...


@runtime_checkable
class PolarsLike(Protocol):
    """A polars DataFrame, as far as it is needed here."""

    def iter_rows(self, *, named: bool) -> Iterable[Mapping[str, object]]:
        """Rows as mappings."""
        ...


@runtime_checkable
class ArrowLike(Protocol):
    """An Arrow table, as far as it is needed here."""

    def to_pylist(self) -> list[dict[str, object]]:
        """Rows as mappings, all at once."""
        ...


Rows = Iterable[Mapping[str, object]] | PandasLike | PolarsLike | ArrowLike
"""What counts as rows: an iterable of mappings, or a pandas, polars or Arrow frame."""


Row = dict[str, Json]
"""One row on its way up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileType:
    """What a file's name says of it."""

    format: str
    media_type: str


def as_json(rows: Rows) -> Iterator[dict[str, Json]]:
    """Go through rows as JSON objects, in order.

    A frame's missing values (NaN, NaT, NA) become null and its numbers plain numbers.

    Raises:
        InvalidRequest: A row is not a mapping, holds a value that is no JSON, or has two columns
            of one name.
    """
    for number, row in enumerate(_mappings(rows), start=1):
        if not isinstance(row, Mapping):
            raise InvalidRequest(f"row {number} is a {type(row).__name__}, not a mapping")
        place = f"row {number}"
        made = {str(name): _plain(value, f"{place}, {name!r}") for name, value in row.items()}
        yield _whole(made, row, place)


def head(rows: Iterator[Row]) -> tuple[list[Row], Iterator[Row] | None]:
    """Take the rows if they fit into a job's body.

    Returns:
        All rows and None, or none and an iterator over all of them when they are too many or
        too large.
    """
    first: list[Row] = []
    size = 0
    for row in rows:
        first.append(row)
        size += len(encode(row))
        if len(first) > MAX_INLINE_ROWS or size > MAX_INLINE_BYTES:
            return [], chain(first, rows)
    return first, None


def lines(rows: Iterable[dict[str, Json]]) -> Iterator[bytes]:
    """Write rows as JSON Lines, in pieces large enough to send."""
    buffer = bytearray()
    for row in rows:
        buffer += encode(row) + b"\n"
        if len(buffer) >= _CHUNK:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


def file_type(path: Path, format: str | None = None) -> FileType:  # noqa: A002 - the API's word
    """Tell a file's format by its name, unless it is given.

    Raises:
        InvalidRequest: The name says nothing, or the format is not one of the known ones.
    """
    known = dict(_TYPES.values())
    wanted = format or _TYPES.get(path.suffix.lower(), ("", ""))[0]
    if wanted not in known:
        raise InvalidRequest(
            f"{path}: say which format it has, {', '.join(known)} (--format), or name it so"
        )
    return FileType(format=wanted, media_type=known[wanted])


def file_chunks(path: Path) -> Iterator[bytes]:
    """Read a file in pieces."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _mappings(rows: Rows) -> Iterable[Mapping[str, object]]:
    if isinstance(rows, PolarsLike):
        return rows.iter_rows(named=True)
    if isinstance(rows, PandasLike):
        return _pandas_rows(rows)
    if isinstance(rows, ArrowLike):
        _distinct(getattr(rows, "column_names", ()), "the table")
        return rows.to_pylist()
    return rows


def _pandas_rows(frame: PandasLike) -> Iterator[dict[str, object]]:
    names = _distinct(frame.columns, "the frame")
    for values in frame.itertuples(index=False, name=None):
        yield dict(zip(names, values, strict=True))


def _distinct(names: Iterable[object], place: str) -> list[str]:
    """Names as JSON writes them, where 1 and "1" are one.

    Raises:
        InvalidRequest: Two are the same, and one value of each row would be lost.
    """
    written: dict[str, object] = {}
    for name in names:
        text = str(name)
        if text in written:
            both = f"{written[text]!r} and {name!r}"
            raise InvalidRequest(f"{place} has the name {text!r} twice ({both}); rename one")
        written[text] = name
    return list(written)


def _whole(made: Row, source: Collection[object], place: str) -> Row:
    """What was made of a mapping, unless names that are one as text lost a value of it."""
    if len(made) < len(source):
        _distinct(source, place)
    return made


def _plain(value: object, place: str) -> Json:
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return None if isnan(value) else value
        case Mapping():
            made = {str(name): _plain(item, place) for name, item in value.items()}
            return _whole(made, value, place)
        case list() | tuple():
            return [_plain(item, place) for item in value]
        case _:
            return _foreign(value, place)


def _foreign(value: object, place: str) -> Json:
    """Values of numpy and pandas say what they are; nothing else is guessed."""
    kind = type(value).__name__
    if kind in {"NAType", "NaTType"}:
        return None
    if kind == "Timestamp":
        return str(value)
    if isinstance(value, _Scalar) and (isinstance(value, Real) or kind in {"bool", "bool_"}):
        return _plain(value.item(), place)
    if kind == "ndarray" and isinstance(value, _Array):
        return _plain(value.tolist(), place)
    raise InvalidRequest(f"{place} is a {type(value).__qualname__}, which is no JSON; convert it")


@runtime_checkable
class _Scalar(Protocol):
    def item(self) -> object: ...


@runtime_checkable
class _Array(Protocol):
    def tolist(self) -> list[object]: ...
