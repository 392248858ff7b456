"""The two streams: results on stdout, everything else on stderr."""

import sys
from collections.abc import Mapping

from rich.console import Console

WIDTH_UNKNOWN = 120
"""Columns of a table that goes to a file or a pipe."""


def results(environ: Mapping[str, str]) -> Console:
    """A console on stdout, wide enough for a table when nobody says how wide it is."""
    console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in environ:
        console.width = WIDTH_UNKNOWN
    return console


def messages() -> Console:
    """A console on stderr."""
    return Console(file=sys.stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)
