"""Arrays in, estimates with intervals out; every formula names its source.

The row is the unit: repeats of a row are averaged before they come here, for answers to the same
question are not independent of each other (Miller 2024, "Adding Error Bars to Evals",
arXiv:2411.00640, section 2.2). An average of nothing is an error, never 0, and where the rows
say nothing about their own spread there is no interval, rather than one of width zero.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtri, stdtr, stdtrit

Scores = npt.NDArray[np.float64]
"""One score a row; shape (n_rows,), finite."""

_ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""Differences closer than this, relative to the scores, are equal but for rounding."""


class Method(StrEnum):
    """How an interval was made, or why there is none."""

    WILSON = "wilson"
    STUDENT_T = "student_t"
    NEWCOMBE_MCNEMAR = "newcombe_mcnemar"  #: Newcombe's interval, McNemar's mid-p value.
    SINGLE_ROW = "single_row"  #: No interval: one row says nothing about spread.
    ALL_EQUAL = "all_equal"  #: No interval: values other than 0 and 1 that are all the same.


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean and how far to trust it."""

    value: float
    low: float | None
    """None when `method` says why there is no interval."""
    high: float | None
    n: int
    """Rows it rests on."""
    method: Method


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedEstimate:
    """How much higher the candidate scores than the baseline on the same rows."""

    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    """Two-sided, of "no difference"; None when `method` says why there is no interval."""
    n: int
    """Rows scored on both sides."""
    wins: int
    """Rows on which the candidate scores higher."""
    losses: int
    ties: int
    method: Method


def mean_interval(scores: Scores, *, confidence: float = 0.95) -> Estimate:
    """Estimate the mean score of the rows these are a sample of.

    Scores that are all 0 or 1 get Wilson's interval, others Student's.

    Raises:
        ValueError: There are no scores, one is not finite, or `confidence` is not in (0, 1).
    """
    _check(scores, confidence)
    value = float(scores.mean())
    match method := _method(scores, is_binary=_is_binary(scores), of_binary=Method.WILSON):
        case Method.WILSON:
            low, high = _wilson(int(scores.sum()), scores.size, confidence)
        case Method.STUDENT_T:
            low, high, _ = _student(scores, confidence)
        case _:
            return Estimate(value=value, low=None, high=None, n=scores.size, method=method)
    return Estimate(value=value, low=low, high=high, n=scores.size, method=method)


def paired_difference(
    baseline: Scores, candidate: Scores, *, confidence: float = 0.95
) -> PairedEstimate:
    """Estimate how much higher `candidate` scores than `baseline` on rows like these.

    When all scores are 0 or 1: Newcombe's interval for paired proportions and McNemar's mid-p
    test. Otherwise: Student's interval and test of the differences (Miller 2024,
    arXiv:2411.00640, section 4.2).

    Args:
        baseline: Scores of the baseline.
        candidate: Scores of the same rows in the same order.
        confidence: Coverage of the two-sided interval, in (0, 1).

    Raises:
        ValueError: The shapes differ, there are no rows, a score is not finite, or `confidence`
            is not in (0, 1).
    """
    if baseline.shape != candidate.shape:
        raise ValueError(f"scores are not paired: shapes {baseline.shape} and {candidate.shape}")
    _check(baseline, confidence)
    _check(candidate, confidence)
    is_binary = _is_binary(baseline) and _is_binary(candidate)
    differences = candidate - baseline if is_binary else _differences(baseline, candidate)
    method = _method(differences, is_binary=is_binary, of_binary=Method.NEWCOMBE_MCNEMAR)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    if method is Method.NEWCOMBE_MCNEMAR:
        both = int(np.minimum(baseline, candidate).sum())
        low, high = _newcombe(both, wins, losses, differences.size, confidence)
        p_value = _mcnemar(wins, losses)
    elif method is Method.STUDENT_T:
        low, high, p_value = _student(differences, confidence)
    return PairedEstimate(
        difference=float(differences.mean()),
        low=low,
        high=high,
        p_value=p_value,
        n=differences.size,
        wins=wins,
        losses=losses,
        ties=differences.size - wins - losses,
        method=method,
    )


def percentiles(values: Scores, *points: float) -> tuple[float, ...]:
    """Give percentiles, `points` in [0, 100], interpolating linearly between the sorted values.

    Raises:
        ValueError: There are no values, or one is not finite.

    Source: Hyndman and Fan 1996, "Sample Quantiles in Statistical Packages", definition 7.
    """
    _check(values, confidence=0.5)
    ordered = np.sort(values)  # by vector instructions: a third of what a partition takes
    places = (ordered.size - 1) * np.array(points) / 100
    below = np.floor(places).astype(np.intp)
    above = np.minimum(below + 1, ordered.size - 1)
    found = ordered[below] + (places - below) * (ordered[above] - ordered[below])
    return tuple(float(value) for value in found)


def _check(scores: Scores, confidence: float) -> None:
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(f"need at least one score, got an array of shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not a finite number; leave unscored rows out")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")


def _is_binary(scores: Scores) -> bool:
    return bool(((scores == 0) | (scores == 1)).all())


def _differences(baseline: Scores, candidate: Scores) -> Scores:
    """Subtract, taking what is only rounding (0.1 + 0.2 against 0.3) for a tie."""
    differences = candidate - baseline
    rounding = _ROUNDING * np.maximum(np.abs(baseline), np.abs(candidate))
    return np.where(np.abs(differences) <= rounding, 0.0, differences)


def _method(values: Scores, *, is_binary: bool, of_binary: Method) -> Method:
    if values.size == 1:
        return Method.SINGLE_ROW
    if is_binary:
        return of_binary
    spread = float(values.max() - values.min())
    is_flat = spread <= _ROUNDING * max(1.0, float(np.abs(values).max()))
    return Method.ALL_EQUAL if is_flat else Method.STUDENT_T


def _normal_quantile(confidence: float) -> float:
    return float(ndtri((1 + confidence) / 2))


def _wilson(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """Score interval of one proportion.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference",
    JASA 22:209-212; recommended by Brown, Cai and DasGupta 2001, "Interval Estimation for a
    Binomial Proportion", Statistical Science 16:101-133.
    """
    z = _normal_quantile(confidence)
    p = successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    margin = z / (1 + z**2 / n) * float(np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)))
    # At 0 and n the limits are exactly 0 and 1; rounding may miss them by an ulp.
    low = 0.0 if successes == 0 else max(0.0, centre - margin)
    high = 1.0 if successes == n else min(1.0, centre + margin)
    return low, high


def _newcombe(both: int, wins: int, losses: int, n: int, confidence: float) -> tuple[float, float]:
    """Hybrid score interval of the difference of two paired proportions.

    The Wilson limits of the two proportions are combined by squaring and adding, with their
    correlation estimated from the table, and corrected for continuity.

    Source: Newcombe 1998, "Improved Confidence Intervals for the Difference between Binomial
    Proportions Based on Paired Data", Statistics in Medicine 17:2635-2650, method 10.
    """
    candidate, baseline = (both + wins) / n, (both + losses) / n
    low_c, high_c = _wilson(both + wins, n, confidence)
    low_b, high_b = _wilson(both + losses, n, confidence)
    phi = _phi(both, wins, losses, n)
    difference = candidate - baseline
    below = _squared_sum(candidate - low_c, high_b - baseline, phi)
    above = _squared_sum(high_c - candidate, baseline - low_b, phi)
    return difference - below, difference + above


def _phi(both: int, wins: int, losses: int, n: int) -> float:
    """Correlation of the two proportions, corrected for continuity (Newcombe's method 10)."""
    neither = n - both - wins - losses
    margins = (both + wins) * (losses + neither) * (both + losses) * (wins + neither)
    if margins == 0:
        return 0.0
    agreement: float = both * neither - wins * losses
    if agreement > 0:
        agreement = max(agreement - n / 2, 0.0)
    return float(agreement / np.sqrt(float(margins)))


def _squared_sum(one: float, other: float, phi: float) -> float:
    return float(np.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2)))


def _mcnemar(wins: int, losses: int) -> float:
    """Two-sided mid-p value: a fair coin decides each row on which the two sides differ.

    The exact test is so conservative that Newcombe's interval may leave out zero where it finds
    nothing; the mid-p value counts the observed result half and agrees with the interval.

    Source: Fagerland, Lydersen and Laake 2013, "The McNemar test for binary matched-pairs data:
    mid-p and asymptotic are better than exact conditional", BMC Medical Research Methodology
    13:91.
    """
    fewer, n = min(wins, losses), wins + losses
    at_most = float(bdtr(fewer, n, 0.5))
    less = float(bdtr(fewer - 1, n, 0.5)) if fewer else 0.0
    return min(1.0, at_most + less)


def _student(values: Scores, confidence: float) -> tuple[float, float, float]:
    """Interval of a mean, and the two-sided p value of a mean of zero.

    Source: Student 1908, "The Probable Error of a Mean", Biometrika 6:1-25.
    """
    mean, freedom = float(values.mean()), values.size - 1
    standard_error = float(values.std(ddof=1) / np.sqrt(values.size))
    margin = float(stdtrit(freedom, (1 + confidence) / 2)) * standard_error
    p_value = 2 * float(stdtr(freedom, -abs(mean / standard_error)))
    return mean - margin, mean + margin, min(1.0, p_value)
