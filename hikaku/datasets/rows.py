"""One row: parsed fast, checked in full, written in one canonical way."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from hikaku.datasets import diagnosis
from hikaku.errors import Fault, InvalidInput

MAX_ROW_BYTES = 1_000_000
"""UTF-8 bytes of one row."""

MAX_COLUMNS = 100
"""Different column names in one dataset."""

_MAX_ID_CHARACTERS = 200
"""A longer `id` is content, not a key."""

_READ = msgspec.json.Decoder(dict[str, object])
_WRITE = msgspec.json.Encoder()
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"')


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row as it was read."""

    number: int
    """From 0, in the order of the source."""
    key: str
    """The row's own `id` where it has one, else the beginning of a hash of its content."""
    data: dict[str, object]
    text: str
    """Canonical JSON: keys in their order, numbers in their spelling, characters unescaped."""


class Fingerprint:
    """SHA-256 over the canonical texts of rows in their order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, row_text: str) -> None:
        """Add the next row."""
        self._hash.update(row_text.encode() + b"\n")

    def digest(self) -> bytes:
        """Give the hash of the rows so far; 32 bytes."""
        return self._hash.digest()


class Columns:
    """Column names of a dataset, in order of first appearance."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names so far."""
        return tuple(self._names)

    def add(self, row: Mapping[str, object]) -> None:
        """Take in the names of one more row.

        Raises:
            ValueError: There are more than `MAX_COLUMNS` of them now.
        """
        if row.keys() <= self._names.keys():
            return
        self._names |= dict.fromkeys(row)
        if len(self._names) > MAX_COLUMNS:
            raise ValueError(f"more than {MAX_COLUMNS} different columns; join some into one")


def row_of_json(number: int, written: bytes) -> SourceRow | None:
    """Read one JSON object; None when anything is wrong with it, which `diagnosis` then names."""
    try:
        data = _READ.decode(written)
        text = msgspec.json.format(written, indent=-1)
    except (ValueError, RecursionError):  # msgspec's and Unicode's errors are ValueErrors
        return None
    if b"\\u" in text or b"\\/" in text:
        text = _STRING.sub(_unescaped, text)
        if b"\\u0000" in text and diagnosis.find(text.decode()):
            return None
    if not data or not _is_sound(data, text):
        return None
    return SourceRow(number, _key(data, text), data, text.decode())


def row_of_fields(number: int, data: dict[str, str]) -> SourceRow:
    """Make a row of text fields that have been checked by the decoder."""
    text = _WRITE.encode(data)
    return SourceRow(number, _key(data, text), dict[str, object](data), text.decode())


def inline_rows(rows: Iterable[Mapping[str, object]]) -> Iterator[SourceRow]:
    """Check rows that came inside a request.

    Raises:
        InvalidInput: A row is not one that an upload could hold; points at `/rows/N`.
    """
    columns = Columns()
    for number, row in enumerate(rows):
        try:
            made = _inline_row(number, row, columns)
        except ValueError as error:
            fault = Fault(pointer=f"/rows/{number}", message=str(error))
            raise InvalidInput(f"row {number}: {error}", faults=[fault]) from error
        yield made


def _inline_row(number: int, row: Mapping[str, object], columns: Columns) -> SourceRow:
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    if (fault := diagnosis.find(text)) is not None:
        raise ValueError(fault.message)
    written = text.encode()
    if len(written) > MAX_ROW_BYTES:
        raise ValueError(too_large())
    made = row_of_json(number, written)
    if made is None:
        raise ValueError("not a row: give an object with at least one column")
    columns.add(made.data)
    return made


def too_large() -> str:
    """Say that a row is too large."""
    return f"the row is larger than {MAX_ROW_BYTES:,} bytes; shorten it"


def _unescaped(match: re.Match[bytes]) -> bytes:
    """Write a string with no escapes but those that JSON demands."""
    return _WRITE.encode(msgspec.json.decode(match[0])) if b"\\" in match[0] else match[0]


def _is_sound(data: Mapping[str, object], text: bytes) -> bool:
    """Whether no key stands twice and nothing is nested too deep.

    In compact JSON every key ends in `":`, so there are at least as many of these as keys. If
    there are no more of them than keys that survived parsing, none was lost to a repetition.
    """
    try:
        keys = len(data) if text.count(b"{") == 1 and b"[" not in text else _n_keys(data, 1)
    except RecursionError:
        return False
    return text.count(b'":') == keys or diagnosis.find(text.decode()) is None


def _n_keys(value: object, depth: int) -> int:
    if not isinstance(value, dict | list):
        return 0
    if depth > diagnosis.MAX_DEPTH:
        raise RecursionError
    if isinstance(value, dict):
        return len(value) + sum(_n_keys(inner, depth + 1) for inner in value.values())
    return sum(_n_keys(inner, depth + 1) for inner in value)


def _key(data: Mapping[str, object], text: bytes) -> str:
    match data.get("id"):
        case str() as own if 0 < len(own) <= _MAX_ID_CHARACTERS:
            return own
        case bool():
            pass
        case int() as own if abs(own) < 10**_MAX_ID_CHARACTERS:
            return str(own)
    return hashlib.sha256(text).hexdigest()[:16]
