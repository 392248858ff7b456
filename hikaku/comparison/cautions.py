"""What a reader must know before trusting a comparison."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from hikaku.comparison.columns import ColumnScores, Match
from hikaku.jobs import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """One such thing."""

    code: str
    """Stable and machine-readable."""
    message: str


def of_column(column: ColumnScores) -> Iterator[Caution]:
    """Say what is wrong with one column by itself."""
    if (done := sum(column.outcomes.values())) < column.n_cells:
        message = f"{column.name}: {done} of {column.n_cells} cells are done; figures will change"
        yield Caution(code="unfinished", message=message)
    if (unasked := column.outcomes.get(Outcome.CANCELLED, 0)) > 0:
        message = f"{column.name}: {unasked} of {column.n_cells} cells were never asked"
        yield Caution(code="never_asked", message=message)
    if (failed := sum(n for outcome, n in column.outcomes.items() if outcome.is_failed)) > 0:
        message = f"{column.name}: {failed} of {column.n_cells} cells failed and have no score"
        yield Caution(code="failed_cells", message=message)
    for name, scores in column.scores.items():
        if scores.n_scored == 0:
            yield Caution(code="no_scores", message=f"{column.name}: {name} scored nothing yet")


def of_pair(base: ColumnScores, other: ColumnScores, match: Match) -> Iterator[Caution]:
    """Say what makes two columns hard to compare."""
    both = f"{base.name} and {other.name}"
    if base.dataset != other.dataset:
        message = f"{both} ran on different rows; those with the same key are compared"
        yield Caution(code="different_dataset", message=message)
    yield from _of_rows(base, other, match)
    for name in sorted(base.scores.keys() ^ other.scores.keys()):
        message = f"{both}: only one of them was scored by {name}; there is nothing to compare"
        yield Caution(code="missing_scorer", message=message)
    for name in other.scores:
        if name in base.scores:
            yield from _of_scorer(base, other, name)
            yield from _of_coverage(base, other, match, name)


def _of_rows(base: ColumnScores, other: ColumnScores, match: Match) -> Iterator[Caution]:
    for column, rows in ((base, match.base), (other, match.other)):
        if rows.size == len(column.row_keys):  # each row is matched once at most
            continue
        alone = _left_out(column.row_keys, {int(row) for row in rows})
        some = ", ".join(islice(alone, 3)) + (", ..." if len(alone) > 3 else "")  # noqa: PLR2004
        opposite = other if column is base else base
        message = f"{len(alone)} rows of {column.name} are not in {opposite.name}: {some}"
        yield Caution(code="unmatched_rows", message=message)


def _left_out(keys: Sequence[str], rows: set[int]) -> list[str]:
    return [key for row, key in enumerate(keys) if row not in rows]


def _of_scorer(base: ColumnScores, other: ColumnScores, name: str) -> Iterator[Caution]:
    one, two = base.scores[name], other.scores[name]
    if (one.type, one.options, one.target) != (two.type, two.options, two.target):
        message = f"{base.name} and {other.name} mean different scorers by {name}"
        yield Caution(code="different_scorer", message=message)
    elif one.version != two.version:
        versions = f"{one.version} at {base.name} and {two.version} at {other.name}"
        message = f"{name} has version {versions}; score one of them again"
        yield Caution(code="different_scorer_version", message=message)


def _of_coverage(
    base: ColumnScores, other: ColumnScores, match: Match, name: str
) -> Iterator[Caution]:
    one, two = match.pick(base.scores[name].means, other.scores[name].means)
    in_base, in_other = ~np.isnan(one), ~np.isnan(two)
    shares = [column.coverage(name) for column in (base, other)]
    if (in_base == in_other).all() and shares[0] == shares[1]:
        return
    covered = f"{shares[0]:.1%} of the cells of {base.name} and {shares[1]:.1%} of {other.name}"
    pairs = int((in_base & in_other).sum())
    message = f"{name} scored {covered}; the difference rests on the {pairs} rows scored in both"
    yield Caution(code="unequal_coverage", message=message)
