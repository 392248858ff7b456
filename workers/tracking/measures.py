"""Measures one column of a job (its cells on one endpoint) while they stream by."""

from array import array
from collections import Counter
from dataclasses import dataclass
from math import isfinite

import numpy as np

from hikaku.statistics import Estimate, mean_interval, percentiles
from hikaku.storage.results import ReadCell


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreMeasures:
    """What one scorer says of a column."""

    estimate: Estimate | None
    """Over rows, repeats of a row averaged first; None when nothing was scored."""
    coverage: float
    """Scored cells out of the planned ones: a failed cell lowers this and never the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What one column of a job comes to."""

    scores: tuple[ScoreMeasures, ...]
    """In the order of the job's scorers."""
    latency_p50_ms: float | None
    """Of the answered cells; None when no cell was answered."""
    latency_p95_ms: float | None
    input_tokens: int | None
    """None when no cell reported any."""
    output_tokens: int | None


class _RowMeans:
    """Averages the repeats of each row; cells of a row follow one another."""

    def __init__(self) -> None:
        self.cells = 0
        self._means = array("d")
        self._row: int | None = None
        self._sum, self._n = 0.0, 0

    def add(self, row: int, value: float) -> None:
        if row != self._row:
            self._close()
            self._row = row
        self._sum += value
        self._n += 1
        self.cells += 1

    def measured(self, planned: int) -> ScoreMeasures:
        self._close()
        means = np.array(self._means, dtype=np.float64)
        return ScoreMeasures(
            estimate=mean_interval(means) if means.size else None,
            coverage=self.cells / planned if planned else 0.0,
        )

    def _close(self) -> None:
        if self._n:
            self._means.append(self._sum / self._n)
        self._sum, self._n = 0.0, 0


class Tally:
    """Adds up the cells of one column; keeps 8 bytes a row and scorer, and 4 a cell."""

    def __init__(self, *, scorers: int, planned: int) -> None:
        self._planned = planned
        self._scores = [_RowMeans() for _ in range(scorers)]
        self._latencies = array("f")  # as exact as the column they come from
        self._tokens: Counter[str] = Counter()

    def add(self, cell: ReadCell) -> None:
        """Count a cell; cells come in the order of their keys."""
        for score in cell.scores:
            if score.value is not None and isfinite(score.value):
                self._scores[score.scorer].add(cell.key.row, score.value)
        if cell.outcome.is_answered and cell.latency_ms is not None:
            self._latencies.append(cell.latency_ms)
        if cell.input_tokens is not None:
            self._tokens["input"] += cell.input_tokens
        if cell.output_tokens is not None:
            self._tokens["output"] += cell.output_tokens

    def measured(self) -> Measures:
        """Give what the cells so far come to."""
        latencies = np.array(self._latencies, dtype=np.float64)
        p50, p95 = percentiles(latencies, 50, 95) if latencies.size else (None, None)
        return Measures(
            scores=tuple(scores.measured(self._planned) for scores in self._scores),
            latency_p50_ms=p50,
            latency_p95_ms=p95,
            input_tokens=self._tokens.get("input"),
            output_tokens=self._tokens.get("output"),
        )
