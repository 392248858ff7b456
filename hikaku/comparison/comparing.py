"""Summaries of columns, and their differences to the baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from hikaku.comparison import cautions
from hikaku.comparison.cautions import Caution
from hikaku.comparison.columns import ColumnScores, Match, matched
from hikaku.errors import Fault, InvalidInput, UnknownName
from hikaku.jobs import Outcome
from hikaku.statistics import Method, Scores, mean_interval, paired_difference, percentiles


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSummary:
    """A column's mean score under one scorer."""

    n: int
    """Rows with at least one scored repeat."""
    cells: int
    """Scored cells."""
    coverage: float
    """Scored cells in parts of the planned ones."""
    mean: float | None
    """None when nothing was scored; never 0 for that."""
    low: float | None
    high: float | None
    method: Method | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreDifference:
    """How much higher a column scores than the baseline under one scorer."""

    pairs: int
    """Rows scored in both."""
    difference: float | None
    """None when there are no pairs."""
    low: float | None
    high: float | None
    p_value: float | None
    method: Method | None
    wins: int
    losses: int
    ties: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One endpoint of one job, summed up."""

    job: str
    endpoint: str
    model: str | None
    cells: int
    outcomes: Mapping[Outcome, int]
    scores: Mapping[str, ScoreSummary]
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: Decimal | None
    versus_baseline: Mapping[str, ScoreDifference] | None
    """By the name of the scorer; None for the baseline itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Columns against a baseline."""

    baseline_job: str
    baseline_endpoint: str
    confidence: float
    columns: tuple[Column, ...]
    warnings: tuple[Caution, ...]


def compare(
    columns: Sequence[ColumnScores], *, baseline: str | None = None, confidence: float = 0.95
) -> Comparison:
    """Hold every column against the baseline.

    Args:
        columns: In the order in which they are shown.
        baseline: `job:endpoint`, or an endpoint, of which the first column is meant; the first
            of all if left out.
        confidence: Coverage of the two-sided intervals, in (0, 1).

    Raises:
        InvalidInput: There are no columns.
        UnknownName: No column is called like `baseline`.
    """
    base = _baseline(columns, baseline)
    warnings = [caution for column in columns for caution in cautions.of_column(column)]
    shown = []
    for column in columns:
        if column is base:
            shown.append(_column(column, None, confidence))
            continue
        match = matched(base, column)
        shown.append(_column(column, _differences(base, column, match, confidence), confidence))
        warnings += cautions.of_pair(base, column, match)
    return Comparison(
        baseline_job=base.job,
        baseline_endpoint=base.endpoint,
        confidence=confidence,
        columns=tuple(shown),
        warnings=tuple(warnings),
    )


def _baseline(columns: Sequence[ColumnScores], name: str | None) -> ColumnScores:
    if not columns:
        raise InvalidInput("there is nothing to compare: no job was named")
    if name is None:
        return columns[0]
    called = [column for column in columns if column.name == name]
    called += [column for column in columns if column.endpoint == name]
    if not called:
        there = ", ".join(column.name for column in columns)
        message = f"no column is called {name!r}; there are: {there}"
        raise UnknownName(message, faults=[Fault(pointer="/baseline", message=message)])
    return called[0]


def _differences(
    base: ColumnScores, other: ColumnScores, match: Match, confidence: float
) -> dict[str, ScoreDifference]:
    return {
        name: _difference(base.scores[name].means, scores.means, match, confidence)
        for name, scores in other.scores.items()
        if name in base.scores
    }


def _difference(base: Scores, other: Scores, match: Match, confidence: float) -> ScoreDifference:
    baseline, candidate = match.pick(base, other)
    in_both = ~(np.isnan(baseline) | np.isnan(candidate))
    if in_both.all() and in_both.size:
        return _paired(baseline, candidate, confidence)
    if not in_both.any():
        return ScoreDifference(
            pairs=0,
            difference=None,
            low=None,
            high=None,
            p_value=None,
            method=None,
            wins=0,
            losses=0,
            ties=0,
        )
    return _paired(baseline[in_both], candidate[in_both], confidence)


def _paired(baseline: Scores, candidate: Scores, confidence: float) -> ScoreDifference:
    estimate = paired_difference(baseline, candidate, confidence=confidence)
    return ScoreDifference(
        pairs=estimate.n,
        difference=estimate.difference,
        low=_within(estimate.low, -1.0),
        high=_within(estimate.high, -1.0),
        p_value=estimate.p_value,
        method=estimate.method,
        wins=estimate.wins,
        losses=estimate.losses,
        ties=estimate.ties,
    )


def _column(
    column: ColumnScores, versus: Mapping[str, ScoreDifference] | None, confidence: float
) -> Column:
    latencies = column.latencies_ms
    p50, p95 = percentiles(latencies, 50, 95) if latencies.size else (None, None)
    return Column(
        job=column.job,
        endpoint=column.endpoint,
        model=column.model,
        cells=column.n_cells,
        outcomes=column.outcomes,
        scores={name: _summary(column, name, confidence) for name in column.scores},
        latency_p50_ms=p50,
        latency_p95_ms=p95,
        input_tokens=column.input_tokens,
        output_tokens=column.output_tokens,
        cost_usd=column.cost_usd,
        versus_baseline=versus,
    )


def _summary(column: ColumnScores, name: str, confidence: float) -> ScoreSummary:
    scores = column.scores[name]
    means = scores.means[~np.isnan(scores.means)]
    if not means.size:
        return ScoreSummary(
            n=0,
            cells=scores.n_scored,
            coverage=column.coverage(name),
            mean=None,
            low=None,
            high=None,
            method=None,
        )
    estimate = mean_interval(means, confidence=confidence)
    return ScoreSummary(
        n=estimate.n,
        cells=scores.n_scored,
        coverage=column.coverage(name),
        mean=estimate.value,
        low=_within(estimate.low, 0.0),
        high=_within(estimate.high, 0.0),
        method=estimate.method,
    )


def _within(limit: float | None, lowest: float) -> float | None:
    """Cut a limit of Student's interval at what scores in [0, 1] can reach."""
    return None if limit is None else min(1.0, max(lowest, limit))
