"""CSV and TSV: a header, then rows of as many fields, every field text."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hikaku.datasets.places import Place
from hikaku.datasets.rows import (
    MAX_COLUMNS,
    MAX_ROW_BYTES,
    SourceRow,
    row_of_fields,
    too_large,
)
from hikaku.errors import InvalidInput


def rows(texts: Iterator[str], delimiter: str) -> Iterator[SourceRow]:
    """Read rows under the header; empty lines are passed over, line breaks in quotes are kept."""
    records = _records(texts, delimiter)
    header: list[str] | None = None
    number = 0
    for place, fields in records:
        if header is None:
            header = _checked_header(place, fields)
            continue
        if len(fields) != len(header):
            raise _ragged(place, fields, header)
        row = row_of_fields(number, dict(zip(header, fields, strict=True)))
        if len(row.text) > MAX_ROW_BYTES // 4 and len(row.text.encode()) > MAX_ROW_BYTES:
            raise place.refuse(too_large())
        yield row
        number += 1


@dataclass(slots=True)
class _Lines:
    """Lines of a text, with the ones of the record that is being read kept for its errors."""

    texts: Iterator[str]
    record: list[str] = field(default_factory=list)
    size: int = 0
    number: int = 0
    """Line at which the record begins, less one."""

    def __iter__(self) -> Iterator[str]:
        rest = ""
        for text in self.texts:
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                yield self._kept(line + "\n")
            if len(rest) > MAX_ROW_BYTES:
                break
        if rest:
            yield self._kept(rest)

    def _kept(self, line: str) -> str:
        self.record.append(line)
        self.size += len(line)
        if self.size > MAX_ROW_BYTES:
            raise _LongRecord
        return line

    def forget(self) -> None:
        """Begin the next record."""
        self.number += len(self.record)
        self.record.clear()
        self.size = 0


class _LongRecord(Exception):
    """A record went on for longer than a row may."""


def _records(texts: Iterator[str], delimiter: str) -> Iterator[tuple[Place, list[str]]]:
    csv.field_size_limit(MAX_ROW_BYTES)  # the stdlib's own limit is one for the whole process
    lines = _Lines(texts)
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    while True:
        try:
            fields = next(reader, None)
        except (csv.Error, _LongRecord) as error:
            raise _explained(lines, delimiter, error) from error
        if fields is None:
            return
        if fields:
            yield Place(lines.number + 1), fields
        lines.forget()


def _checked_header(place: Place, fields: Sequence[str]) -> list[str]:
    names = [name.strip() for name in fields]
    if len(names) > MAX_COLUMNS:
        raise place.refuse(f"{len(names)} columns; the limit is {MAX_COLUMNS}")
    for column, name in enumerate(names, start=1):
        here = Place(place.line, column)
        if not name:
            raise here.refuse(f"column {column} has no name; write one into the header")
        if names.index(name) < column - 1:
            times = Counter(names)[name]
            raise here.refuse(f"{name!r} names {times} columns; give each its own name")
    return names


def _ragged(place: Place, fields: Sequence[str], header: Sequence[str]) -> InvalidInput:
    counts = f"{len(fields)} fields where the header has {len(header)}"
    here = Place(place.line, min(len(fields), len(header)) + 1)
    if len(fields) > len(header):
        surplus = fields[len(header)][:40]
        return here.refuse(f"{counts}: {surplus!r} is too much; quote fields with separators")
    return here.refuse(f"{counts}: no value for {header[len(fields)]!r}; add the separator")


def _explained(lines: _Lines, delimiter: str, error: Exception) -> InvalidInput:
    text = "".join(lines.record)
    place, message = _fault_of_quotes(text, delimiter)
    here = Place(lines.number + place.line, place.column)
    if message:
        return here.refuse(message)
    if isinstance(error, _LongRecord) or lines.size > MAX_ROW_BYTES:
        return Place(lines.number + 1).refuse(too_large())
    if "\r" in text:
        return here.refuse("a carriage return alone ends a line; save with LF or CRLF line ends")
    return here.refuse(f"{error}")


def _fault_of_quotes(text: str, delimiter: str) -> tuple[Place, str]:
    """Find the field whose quotes are wrong: where it begins, and what to do; else ''."""
    line, column, position = 1, 1, 0
    while position < len(text):
        begin = Place(line, column)
        if text[position] == '"':
            end = _end_of_quoted(text, position)
            if end is None:
                return begin, f"the quoted field that begins here {_NO_END}; close the quote"
            line += text.count("\n", position, end)
            if text[end : end + 1] not in {delimiter, "\r", "\n", ""}:
                return begin, 'text follows the closing quote; write a quote inside a field as ""'
            position = end
        else:
            stops = [text.find(stop, position) for stop in (delimiter, "\n")]
            position = min((stop for stop in stops if stop >= 0), default=len(text))
        column += 1
        position += 1
    return Place(1), ""


_NO_END = f"does not end within {MAX_ROW_BYTES:,} characters"


def _end_of_quoted(text: str, start: int) -> int | None:
    """Give the index after the quote that closes the one at `start`."""
    position = start + 1
    while (position := text.find('"', position)) >= 0:
        if text[position + 1 : position + 2] != '"':
            return position + 1
        position += 2
    return None
