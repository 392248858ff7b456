"""Formats, and the one way in: bytes of an upload to checked rows."""

from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from pathlib import PurePath

from hikaku.datasets import delimited, json_rows
from hikaku.datasets.encodings import decoded, detect_encoding, known_encoding
from hikaku.datasets.places import Place
from hikaku.datasets.rows import SourceRow
from hikaku.errors import InvalidInput

_CHUNK_BYTES = 65_536


class Format(StrEnum):
    """How rows are written in a file."""

    JSONL = "jsonl"  #: One JSON object a line.
    JSON = "json"  #: One array of objects.
    CSV = "csv"  #: A header, then commas.
    TSV = "tsv"  #: A header, then tabs.


_SUFFIXES = {
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
}
_CONTENT_TYPES = {
    "text/csv": Format.CSV,
    "text/tab-separated-values": Format.TSV,
}


def sniff(filename: str | None, content_type: str | None, first_bytes: bytes) -> Format:
    """Guess the format: JSON shows itself; the name, then the content type, tell the rest.

    A `.json` file with an object on every line is read as JSON Lines.

    Raises:
        InvalidInput: There is nothing in the upload.
    """
    codec = detect_encoding(first_bytes)
    head = first_bytes[:_CHUNK_BYTES].decode(codec, errors="ignore").lstrip("\ufeff \t\r\n")
    if not head:
        raise InvalidInput("the upload is empty; send a file with at least one row")
    suffix = PurePath(filename or "").suffix.lower()
    media_type = (content_type or "").partition(";")[0].strip().lower()
    named = _SUFFIXES.get(suffix) or _CONTENT_TYPES.get(media_type)
    if named is not None:
        return named
    if head[0] in "[{":
        return Format.JSON if head[0] == "[" else Format.JSONL
    if "json" in suffix or "json" in media_type:
        return Format.JSONL
    first_line = head.partition("\n")[0]
    return Format.TSV if first_line.count("\t") > first_line.count(",") else Format.CSV


def read_rows(
    chunks: Iterator[bytes],
    *,
    format: Format,  # noqa: A002 - it is the word of the API
    encoding: str | None = None,
) -> Iterator[SourceRow]:
    """Read an upload row by row; memory stays flat however long it is.

    Args:
        chunks: The upload, cut anywhere.
        format: How the rows are written.
        encoding: Name of the encoding; None to detect it from the first chunk.

    Yields:
        Rows, numbered from 0; at least one.

    Raises:
        InvalidInput: At the first fault, with the line and column it stands at.
    """
    pieces = _gathered(chunks)
    head = next(pieces, b"")
    codec = known_encoding(encoding, head) if encoding else detect_encoding(head)
    rows = _rows(chain([head], pieces), format, codec)
    first = next(rows, None)
    if first is None:
        raise Place(1).refuse("there are no rows; send at least one")
    yield first
    yield from rows


def _rows(pieces: Iterator[bytes], written: Format, codec: str) -> Iterator[SourceRow]:
    match written:
        case Format.JSONL if codec == "utf-8":
            return json_rows.rows_of_lines(pieces)
        case Format.JSONL:
            return json_rows.rows_of_lines(text.encode() for text in decoded(pieces, codec))
        case Format.JSON:
            return json_rows.rows_of_array(decoded(pieces, codec))
        case Format.CSV:
            return delimited.rows(decoded(pieces, codec), ",")
        case Format.TSV:
            return delimited.rows(decoded(pieces, codec), "\t")


def _gathered(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Join small chunks, so that no reader pays for how the network cut the upload."""
    gathered = bytearray()
    for chunk in chunks:
        gathered += chunk
        if len(gathered) >= _CHUNK_BYTES:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered)
