"""Where rows come from: CSV, TSV, JSON Lines and JSON arrays, read as exact streams.

A reader holds one row and one chunk at a time. What it yields has been checked: text that
Postgres can store, no key twice, no number that JSON does not know.
"""

from hikaku.datasets.encodings import detect_encoding
from hikaku.datasets.reading import Format, read_rows, sniff
from hikaku.datasets.rows import Columns, Fingerprint, SourceRow, inline_rows

__all__ = [
    "Columns",
    "Fingerprint",
    "Format",
    "SourceRow",
    "detect_encoding",
    "inline_rows",
    "read_rows",
    "sniff",
]
