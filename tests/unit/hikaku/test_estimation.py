import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikaku.estimation import PILOT_ROWS, STRATA, Interval, added, strata, total


def drawn(values, seed=b"s"):
    """The strata and what the pilot sees of a population whose length is its value, roughly."""
    lengths = [(round(value), row) for row, value in enumerate(values)]
    found = strata(lengths, len(values), seed)
    return found, {row: values[row] for stratum in found for row in stratum.rows}


@given(st.integers(1, 400), st.binary(max_size=4))
def test_every_row_is_stood_for_and_the_pilot_is_small(n, seed):
    found = strata([(row % 17, row) for row in range(n)], n, seed)
    rows = [row for stratum in found for row in stratum.rows]
    assert sum(stratum.size for stratum in found) == n
    assert len(rows) == len(set(rows)) == min(n, PILOT_ROWS)


def test_equal_seeds_draw_equal_rows():
    lengths = [(row % 31, row) for row in range(500)]
    assert strata(lengths, 500, b"a") == strata(lengths, 500, b"a")
    assert strata(lengths, 500, b"a") != strata(lengths, 500, b"b")


def test_a_job_that_was_tried_whole_is_known():
    values = [3.0, 5.0, 9.0]
    found, used = drawn(values)
    assert total(found, used, lambda x: x) == Interval(value=17.0, low=17.0, high=17.0)


def test_what_nobody_showed_is_not_estimated():
    found, _ = drawn([1.0] * 100)
    assert total(found, {}, lambda x: x) is None
    assert total(found, dict.fromkeys(found[0].rows, 1.0), lambda _: None) is None


def test_rows_that_failed_leave_their_stratum_to_its_neighbour():
    values = [float(row) for row in range(1, 501)]
    found, used = drawn(values)
    for row in found[0].rows + found[4].rows[1:]:
        del used[row]
    estimate = total(found, used, lambda x: x)
    assert estimate is not None
    assert estimate.low < estimate.value < estimate.high
    assert sum(stratum.size for stratum in found) == 500


@pytest.mark.parametrize("sigma", [0.3, 0.8])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(sigma):
    chance = np.random.default_rng(7)
    hits = trials = 0
    for trial in range(300):
        lengths = chance.lognormal(5, sigma, 600)
        values = [float(x * chance.uniform(0.7, 1.3)) for x in lengths]
        pairs = [(int(length), row) for row, length in enumerate(lengths)]
        found = strata(pairs, 600, trial.to_bytes(4, "big"))
        used = {row: values[row] for stratum in found for row in stratum.rows}
        estimate = total(found, used, lambda x: x)
        assert estimate is not None
        trials += 1
        hits += estimate.low <= sum(values) <= estimate.high
    assert 0.87 <= hits / trials <= 1.0


def test_strata_tell_more_than_the_same_number_of_rows_without_them():
    values = [float(value) for value in range(100, 1100)]
    found, used = drawn(values)
    one = [type(found[0])(size=1000, rows=tuple(used))]
    inside, whole = total(found, used, lambda x: x), total(one, used, lambda x: x)
    assert len(found) == STRATA
    assert inside is not None
    assert whole is not None
    assert inside.high - inside.low < (whole.high - whole.low) / 2


def test_the_errors_of_independent_totals_add_as_squares():
    both = added([Interval(value=10, low=7, high=14), Interval(value=20, low=16, high=23)])
    assert (both.value, both.low, both.high) == (30, 25, 35)
