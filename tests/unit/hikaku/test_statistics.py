from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hikaku.statistics import Method, Scores, mean_interval, paired_difference, percentiles

BITS = st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=60)
PAIRS_OF_BITS = st.lists(st.tuples(*[st.sampled_from([0.0, 1.0])] * 2), min_size=1, max_size=60)
GRADES = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.9, 1.0, 7.5, -2.0])
PAIRS = st.lists(st.tuples(GRADES, GRADES), min_size=1, max_size=40)
CONFIDENCE = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99])


def array(*values: float) -> Scores:
    return np.array(values, dtype=np.float64)


def table(both: int, wins: int, losses: int, neither: int) -> tuple[Scores, Scores]:
    """(baseline, candidate) with these counts."""
    pairs = [(1, 1)] * both + [(0, 1)] * wins + [(1, 0)] * losses + [(0, 0)] * neither
    columns = np.array(pairs, dtype=np.float64)
    return columns[:, 0], columns[:, 1]


# --- means --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_are_those_of_the_published_table(successes, n, low, high):
    estimate = mean_interval(array(*[1.0] * successes, *[0.0] * (n - successes)))
    assert estimate.method is Method.WILSON
    assert estimate.value == pytest.approx(successes / n)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-5)


@given(scores=BITS, confidence=CONFIDENCE)
def test_wilson_intervals_are_those_of_scipy(scores, confidence):
    estimate = mean_interval(array(*scores), confidence=confidence)
    other = stats.binomtest(int(sum(scores)), len(scores)).proportion_ci(confidence, "wilson")
    assert (estimate.low, estimate.high) == pytest.approx((other.low, other.high), abs=1e-12)
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.low < estimate.high


def test_a_students_interval_is_that_of_the_worked_example():
    # NIST/SEMATECH e-Handbook 1.3.5.2, ZARR13.DAT: mean 9.261460, s 0.022789, n 195
    standard = np.linspace(-1, 1, 195)
    scores = 9.261460 + 0.022789 * (standard - standard.mean()) / standard.std(ddof=1)
    estimate = mean_interval(scores)
    assert estimate.method is Method.STUDENT_T
    assert (estimate.low, estimate.high) == pytest.approx((9.258242, 9.264679), abs=2e-6)


@given(scores=st.lists(GRADES, min_size=2, max_size=40), confidence=CONFIDENCE)
def test_students_intervals_are_those_of_scipy(scores, confidence):
    estimate = mean_interval(array(*scores), confidence=confidence)
    if estimate.method is Method.STUDENT_T:
        low, high = stats.ttest_1samp(scores, 0).confidence_interval(confidence)
        assert (estimate.low, estimate.high) == pytest.approx((low, high))
        assert estimate.value == pytest.approx(np.mean(scores))


@given(pairs=st.lists(st.booleans(), min_size=2, max_size=20), flip=st.booleans())
def test_the_order_of_rows_does_not_matter(pairs, flip):
    scores = array(*[float(bit) for bit in pairs], 0.5 if flip else 1.0)
    one, other = mean_interval(scores), mean_interval(scores[::-1].copy())
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))


def test_all_right_is_not_certainty():
    estimate = mean_interval(array(*[1.0] * 10))
    assert estimate.low == pytest.approx(0.7225, abs=1e-4)
    assert estimate.high == 1.0


def test_one_row_has_a_value_and_no_interval():
    for value in (0.0, 1.0, 0.3):
        estimate = mean_interval(array(value))
        assert (estimate.value, estimate.low, estimate.high) == (value, None, None)
        assert estimate.method is Method.SINGLE_ROW


def test_equal_grades_have_no_interval_rather_than_one_of_width_zero():
    for scores in (array(0.3, 0.3, 0.3), array(0.3, 0.1 + 0.2), array(-2.0, -2.0)):
        estimate = mean_interval(scores)
        assert (estimate.low, estimate.high, estimate.method) == (None, None, Method.ALL_EQUAL)


@pytest.mark.parametrize(
    ("scores", "confidence"),
    [([], 0.95), ([1.0, np.nan], 0.95), ([np.inf], 0.95), ([1.0], 0.0), ([1.0], 1.0)],
)
def test_what_has_no_mean_is_an_error_and_never_zero(scores, confidence):
    with pytest.raises(ValueError, match=r"score|confidence"):
        mean_interval(array(*scores), confidence=confidence)
    with pytest.raises(ValueError, match=r"score|confidence"):
        paired_difference(array(*scores), array(*scores), confidence=confidence)


# --- differences --------------------------------------------------------------------------------


def test_a_newcombe_interval_is_that_of_the_published_example():
    # Cavo et al. 2012, in Fagerland, Lydersen and Laake, "Statistical Analysis of Contingency
    # Tables" (2017), chapter 8: estimate -0.0621, Newcombe's interval -0.1186 to -0.0046
    estimate = paired_difference(*table(both=59, wins=6, losses=16, neither=80))
    assert estimate.method is Method.NEWCOMBE_MCNEMAR
    assert estimate.difference == pytest.approx(-0.0621, abs=5e-5)
    assert (estimate.low, estimate.high) == pytest.approx((-0.1186, -0.0046), abs=5e-5)
    assert (estimate.wins, estimate.losses, estimate.ties, estimate.n) == (6, 16, 139, 161)
    assert estimate.p_value == pytest.approx(0.0347, abs=5e-5)


def newcombe_by_hand(cells: tuple[int, ...], confidence: float) -> tuple[float, float]:
    """Method 10 straight from its definition, on SciPy's own Wilson limits."""
    e, f, g, h = cells
    n = e + f + g + h
    sides = []
    for successes in (e + f, e + g):
        p = successes / n
        limits = stats.binomtest(successes, n).proportion_ci(confidence, "wilson")
        sides.append((p, p - limits.low, limits.high - p))
    (p1, down1, up1), (p2, down2, up2) = sides
    product = (e + f) * (g + h) * (e + g) * (f + h)
    numerator = e * h - f * g
    corrected = max(numerator - n / 2, 0) if numerator > 0 else numerator
    phi = corrected / product**0.5 if product else 0
    below = (down1**2 - 2 * phi * down1 * up2 + up2**2) ** 0.5
    above = (up1**2 - 2 * phi * up1 * down2 + down2**2) ** 0.5
    return p1 - p2 - below, p1 - p2 + above


@given(cells=st.tuples(*[st.integers(0, 30)] * 4).filter(lambda c: sum(c) > 1), c=CONFIDENCE)
def test_paired_zeros_and_ones_agree_with_scipy_and_the_definition(cells, c):
    estimate = paired_difference(*table(*cells), confidence=c)
    assert (estimate.low, estimate.high) == pytest.approx(newcombe_by_hand(cells, c), abs=1e-9)
    _, wins, losses, _ = cells
    tosses = wins + losses
    exact = stats.binomtest(wins, tosses).pvalue if tosses else 1.0
    observed = stats.binom.pmf(wins, tosses, 0.5) if wins != losses else 0.0
    assert estimate.p_value == pytest.approx(exact - observed)
    assert estimate.low is not None
    assert estimate.high is not None
    assert -1 <= estimate.low <= estimate.difference <= estimate.high <= 1
    assert estimate.low < estimate.high


@given(wins=st.integers(0, 12), losses=st.integers(0, 12))
def test_mcnemars_p_value_counts_the_coins_that_are_as_uneven_half(wins, losses):
    tosses = wins + losses
    more = sum(
        comb(tosses, k) for k in range(tosses + 1) if abs(2 * k - tosses) > abs(wins - losses)
    )
    as_uneven = comb(tosses, wins)
    mid_p = Fraction(more + as_uneven, 2**tosses)
    estimate = paired_difference(*table(2, wins, losses, 2))
    assert estimate.p_value == pytest.approx(float(min(mid_p, Fraction(1))))


def test_mcnemars_p_value_of_a_published_table():
    """Airway hyper-responsiveness before and after transplantation: 1 against 7 of 21."""
    estimate = paired_difference(*table(1, 7, 1, 12))
    assert estimate.p_value == pytest.approx(0.0391, abs=5e-5)


@given(pairs=PAIRS, confidence=CONFIDENCE)
def test_paired_grades_agree_with_scipy(pairs, confidence):
    baseline, candidate = (array(*side) for side in zip(*pairs, strict=True))
    estimate = paired_difference(baseline, candidate, confidence=confidence)
    if estimate.method is Method.STUDENT_T:
        test = stats.ttest_rel(candidate, baseline)
        low, high = test.confidence_interval(confidence)
        assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-12)
        assert estimate.p_value == pytest.approx(test.pvalue)


@given(pairs=PAIRS | PAIRS_OF_BITS, confidence=CONFIDENCE)
def test_swapping_the_sides_negates_the_difference_and_mirrors_the_interval(pairs, confidence):
    baseline, candidate = (array(*side) for side in zip(*pairs, strict=True))
    there = paired_difference(baseline, candidate, confidence=confidence)
    back = paired_difference(candidate, baseline, confidence=confidence)
    assert there.difference == pytest.approx(-back.difference)
    assert (there.wins, there.losses, there.ties) == (back.losses, back.wins, back.ties)
    assert there.wins + there.losses + there.ties == there.n == len(pairs)
    assert there.method is back.method
    if there.low is None or there.high is None:
        assert (back.low, back.high, there.p_value, back.p_value) == (None, None, None, None)
    else:
        assert (back.high, back.low) == pytest.approx((-there.low, -there.high), abs=1e-12)
        assert back.p_value == pytest.approx(there.p_value)
        assert there.p_value is not None
        assert 0 <= there.p_value <= 1
        assert there.low <= there.difference <= there.high


def test_equal_sides_differ_by_nothing_within_an_honest_interval():
    scores = array(*[1.0, 0.0] * 20)
    estimate = paired_difference(scores, scores)
    assert (estimate.difference, estimate.p_value, estimate.ties) == (0, 1, 40)
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < -0.02 < 0.02 < estimate.high


def test_differences_that_are_all_the_same_grade_have_no_interval_and_no_p_value():
    base = array(0.1, 0.25, 0.5, 0.7)
    for shift in (0.0, 0.1):
        estimate = paired_difference(base, base + shift)
        assert estimate.method is Method.ALL_EQUAL
        assert (estimate.low, estimate.high, estimate.p_value) == (None, None, None)
        assert estimate.difference == pytest.approx(shift)


def test_what_is_only_rounding_is_a_tie():
    estimate = paired_difference(array(0.3, 0.0), array(0.1 + 0.2, 0.5))
    assert (estimate.wins, estimate.losses, estimate.ties) == (1, 0, 1)


def test_a_single_pair_has_a_difference_and_nothing_more():
    estimate = paired_difference(array(0.0), array(1.0))
    assert (estimate.difference, estimate.wins, estimate.method) == (1.0, 1, Method.SINGLE_ROW)
    assert (estimate.low, estimate.high, estimate.p_value) == (None, None, None)


def test_scores_of_different_length_are_not_paired():
    with pytest.raises(ValueError, match="not paired"):
        paired_difference(array(1.0), array(1.0, 0.0))


def test_a_million_rows_are_no_trouble():
    estimate = paired_difference(*table(both=400_000, wins=100_000, losses=99_000, neither=401_000))
    assert estimate.p_value == pytest.approx(0.02498, abs=1e-5)
    assert estimate.difference == pytest.approx(0.001)


# --- percentiles --------------------------------------------------------------------------------


def test_percentiles_interpolate_between_sorted_values():
    assert percentiles(array(40, 10, 30, 20), 0, 50, 95, 100) == pytest.approx((10, 25, 38.5, 40))
    assert percentiles(array(7), 50) == (7.0,)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50),
    st.lists(st.floats(0, 100), min_size=1, max_size=5),
)
def test_percentiles_are_those_of_numpy(values, points):
    expected = np.percentile(values, points)
    assert percentiles(np.array(values), *points) == pytest.approx(tuple(expected), abs=1e-6)


def test_percentiles_of_nothing_are_an_error():
    with pytest.raises(ValueError, match="at least one"):
        percentiles(array(), 50)
