"""The classic mistake of these files: keys of a list entry that stand under its dash."""

import re
from dataclasses import dataclass

_ENTRY = re.compile(r"( *)-( +)[\w.\-\"']+ *:")
_KEY = re.compile(r"( *)([\w.\-]+) *:(?: |$)")
TOP_LEVEL = frozenset({"endpoints", "routes"})
"""Keys that may stand at the margin."""


@dataclass(frozen=True, slots=True)
class Misplaced:
    """A line that is indented too little."""

    line: int
    """From 1."""
    column: int
    key: str
    entry_line: int
    """Where the entry begins that it belongs to."""
    mended: str
    """The line as it should stand."""


def misplaced_key(text: str) -> Misplaced | None:
    """The first key that stands in the column of its entry's dash; None when none does."""
    entry: re.Match[str] | None = None
    entry_line = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if (begun := _ENTRY.match(line)) is not None:
            entry, entry_line = begun, number
            continue
        key = _KEY.match(line)
        if entry is None or key is None or key[1] != entry[1]:
            continue
        if not entry[1] and key[2] in TOP_LEVEL:
            entry = None
            continue
        mended = entry[1] + " " * (1 + len(entry[2])) + line.lstrip()
        return Misplaced(number, len(key[1]) + 1, key[2], entry_line, mended)
    return None
