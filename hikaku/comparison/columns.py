"""What a column brings to a comparison, and which rows of two columns belong together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from hikaku.jobs import Outcome
from hikaku.statistics import Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScores:
    """One scorer's scores of one column."""

    type: str
    version: int
    options: Mapping[str, object] = field(default_factory=dict)
    target: str | None = None
    """Column with the expected answer."""
    means: Scores
    """Mean over the repeats of each row; shape (n_rows,), NaN where no repeat was scored."""
    n_scored: int
    """Cells with a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnScores:
    """What one endpoint of one job did: a column of the comparison."""

    job: str
    endpoint: str
    model: str | None = None
    dataset: str
    """Fingerprint of the rows."""
    row_keys: Sequence[str]
    """Of all rows of the job, in their order; a key may stand more than once."""
    n_cells: int
    """Cells the job planned for the endpoint."""
    outcomes: Mapping[Outcome, int]
    """Recorded cells; of a job that has ended all, those never asked as cancelled."""
    scores: Mapping[str, RowScores]
    """By the name of the scorer."""
    latencies_ms: Scores = field(default_factory=lambda: np.empty(0))
    """Of the answering calls; any order."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None

    @property
    def name(self) -> str:
        """How a request and a warning call the column."""
        return f"{self.job}:{self.endpoint}"

    def coverage(self, scorer: str) -> float:
        """Give the scored cells in parts of the planned ones."""
        return self.scores[scorer].n_scored / self.n_cells


def average_repeats(
    n_rows: int, rows: npt.NDArray[np.int64], values: Scores, *, repeats: int
) -> tuple[Scores, int]:
    """Average the scores of each row over its repeats.

    Args:
        n_rows: Rows of the job.
        repeats: Of each row at most; where there is one, there is nothing to average.
        rows: The row of every score, in any order.
        values: The score; NaN where there is no value.

    Returns:
        `RowScores.means` and `RowScores.n_scored`.
    """
    if repeats == 1:
        means = np.full(n_rows, np.nan)
        means[rows] = values
        return means, n_rows - int(np.count_nonzero(np.isnan(means)))
    is_scored = ~np.isnan(values)
    scored = rows[is_scored]
    counts = np.bincount(scored, minlength=n_rows)
    sums = np.bincount(scored, weights=values[is_scored], minlength=n_rows)
    means = np.full(n_rows, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means, scored.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Rows of two columns that have the same keys, side by side."""

    base: "np.ndarray[tuple[int], np.dtype[np.intp]]"
    other: "np.ndarray[tuple[int], np.dtype[np.intp]]"
    is_whole: bool = False
    """Whether both columns have the same rows in the same order: there is nothing to pick."""

    def pick(self, base: Scores, other: Scores) -> tuple[Scores, Scores]:
        """Put values of the rows of both columns side by side."""
        return (base, other) if self.is_whole else (base[self.base], other[self.other])


def matched(base: ColumnScores, other: ColumnScores) -> Match:
    """Find the rows that are in both columns, in the order of `other`."""
    if base.row_keys is other.row_keys or list(base.row_keys) == list(other.row_keys):
        rows = np.arange(len(base.row_keys))
        return Match(base=rows, other=rows, is_whole=True)
    places = {key: row for row, key in enumerate(_distinct(base.row_keys))}
    pairs = [
        (places[key], row) for row, key in enumerate(_distinct(other.row_keys)) if key in places
    ]
    rows_of_base, rows_of_other = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    return Match(base=rows_of_base, other=rows_of_other)


def _distinct(keys: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Tell rows of the same key apart by their order: the nth is matched with the nth."""
    seen: dict[str, int] = {}
    for key in keys:
        seen[key] = seen.get(key, 0) + 1
        yield key, seen[key]
