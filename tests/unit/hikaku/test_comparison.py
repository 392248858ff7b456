from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikaku.comparison import ColumnScores, Comparison, RowScores, average_repeats, compare
from hikaku.errors import InvalidInput, UnknownName
from hikaku.jobs import Outcome
from hikaku.statistics import Method

Values = Sequence[float | None]


def averaged(n_rows, cells):
    cells = list(cells)
    rows = np.array([row for row, _ in cells], dtype=np.int64)
    values = np.array([np.nan if v is None else v for _, v in cells], dtype=np.float64)
    return average_repeats(n_rows, rows, values, repeats=2)


def scored(values: Values, **options) -> RowScores:
    means, n_scored = averaged(len(values), enumerate(values))
    options = {"type": "exact_match", "version": 1, **options}
    return RowScores(means=means, n_scored=n_scored, **options)


def column(endpoint: str, values: Values | Mapping[str, RowScores], **options) -> ColumnScores:
    scores = values if isinstance(values, Mapping) else {"exact_match": scored(values)}
    n_rows = max(len(one.means) for one in scores.values())
    given_options: dict[str, Any] = {
        "job": "job_a",
        "dataset": "d1",
        "row_keys": [f"q{n}" for n in range(n_rows)],
        "n_cells": n_rows,
        "outcomes": {Outcome.OK: n_rows},
    } | options
    return ColumnScores(endpoint=endpoint, scores=scores, **given_options)


def codes(comparison: Comparison) -> list[str]:
    return [warning.code for warning in comparison.warnings]


def test_columns_are_summed_up_and_held_against_the_first():
    base = column(
        "small",
        [1, 0, 0, 1],
        model="m1",
        latencies_ms=np.array([100.0, 300.0, 200.0]),
        input_tokens=10,
        output_tokens=0,
        cost_usd=Decimal("0.01"),
    )
    comparison = compare([base, column("large", [1, 1, 1, 1])])
    first, second = comparison.columns
    assert (comparison.baseline_job, comparison.baseline_endpoint) == ("job_a", "small")
    assert first.versus_baseline is None
    assert (first.latency_p50_ms, first.latency_p95_ms) == pytest.approx((200, 290))
    assert (first.model, first.input_tokens, first.output_tokens) == ("m1", 10, 0)
    assert first.cost_usd == Decimal("0.01")
    summary = first.scores["exact_match"]
    assert (summary.n, summary.cells, summary.coverage, summary.mean) == (4, 4, 1, 0.5)
    assert summary.method is Method.WILSON
    assert second.versus_baseline is not None
    paired = second.versus_baseline["exact_match"]
    assert (paired.pairs, paired.difference, paired.p_value) == (4, 0.5, 0.25)
    assert (paired.wins, paired.losses, paired.ties) == (2, 0, 2)
    assert (second.latency_p50_ms, second.cost_usd, second.input_tokens) == (None, None, None)
    assert codes(comparison) == []


def test_a_failed_cell_lowers_the_coverage_and_never_the_mean():
    base = column("a", [1, 1, 0, 1])
    other = column("b", [1, None, 1, 1], outcomes={Outcome.OK: 3, Outcome.PROVIDER_ERROR: 1})
    comparison = compare([base, other])
    summary = comparison.columns[1].scores["exact_match"]
    assert (summary.mean, summary.n, summary.cells, summary.coverage) == (1, 3, 3, 0.75)
    versus = comparison.columns[1].versus_baseline
    assert versus is not None
    assert (versus["exact_match"].pairs, versus["exact_match"].wins) == (3, 1)
    assert codes(comparison) == ["failed_cells", "unequal_coverage"]
    assert comparison.warnings[1].message == (
        "exact_match scored 100.0% of the cells of job_a:a and 75.0% of job_a:b; "
        "the difference rests on the 3 rows scored in both"
    )


def test_equal_coverage_of_different_rows_is_said_too():
    comparison = compare([column("a", [1, None, 1]), column("b", [None, 1, 1])])
    assert codes(comparison) == ["unequal_coverage"]


def test_repeats_of_a_row_are_averaged_first_and_count_as_one_row():
    cells = [(0, 1.0), (2, 0.0), (0, 0.0), (0, 1.0), (1, None), (2, None), (2, 1.0), (1, None)]
    means, n_scored = averaged(4, cells)
    assert n_scored == 5
    assert means[[0, 2]] == pytest.approx([2 / 3, 0.5])
    assert np.isnan(means[[1, 3]]).all()
    ten_times = [(row, float(row % 2)) for row in range(4) for _ in range(10)]
    means, n_scored = averaged(4, ten_times)
    scores = {"s": RowScores(type="t", version=1, means=means, n_scored=n_scored)}
    repeated = column("a", scores, n_cells=40, outcomes={Outcome.OK: 40})
    summary = compare([repeated]).columns[0].scores["s"]
    assert (summary.n, summary.cells, summary.coverage) == (4, 40, 1)
    once = compare([column("a", [0, 1, 0, 1])]).columns[0].scores["exact_match"]
    assert (summary.low, summary.high) == (once.low, once.high)


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.floats(-5, 5)), max_size=40))
def test_averaging_repeats_is_the_mean_of_each_row(cells):
    means, n_scored = averaged(6, cells)
    for row in range(6):
        values = [value for at, value in cells if at == row and value is not None]
        if values:
            assert means[row] == pytest.approx(np.mean(values))
        else:
            assert np.isnan(means[row])
    assert n_scored == sum(value is not None for _, value in cells)


def test_nothing_scored_is_no_mean_rather_than_zero():
    comparison = compare([column("a", [1, 0]), column("b", [None, None])])
    summary = comparison.columns[1].scores["exact_match"]
    assert (summary.n, summary.mean, summary.low, summary.method) == (0, None, None, None)
    versus = comparison.columns[1].versus_baseline
    assert versus is not None
    assert (versus["exact_match"].pairs, versus["exact_match"].difference) == (0, None)
    assert codes(comparison) == ["no_scores", "unequal_coverage"]


def test_rows_are_matched_by_key_whatever_their_order():
    base = column("a", [1, 0, 0], row_keys=["x", "y", "z"])
    other = column("b", [1, 1, 0, 1], job="job_b", dataset="d2", row_keys=["z", "new", "x", "more"])
    comparison = compare([base, other])
    versus = comparison.columns[1].versus_baseline
    assert versus is not None
    paired = versus["exact_match"]
    assert (paired.pairs, paired.wins, paired.losses) == (2, 1, 1)
    assert [(w.code, w.message) for w in comparison.warnings] == [
        (
            "different_dataset",
            "job_a:a and job_b:b ran on different rows; those with the same key are compared",
        ),
        ("unmatched_rows", "1 rows of job_a:a are not in job_b:b: y"),
        ("unmatched_rows", "2 rows of job_b:b are not in job_a:a: new, more"),
    ]


def test_rows_of_the_same_key_are_matched_in_their_order():
    base = column("a", [1, 0, 1], row_keys=["x", "x", "y"])
    other = column("b", [1, 0, 0], row_keys=["y", "x", "x"])
    comparison = compare([base, other])
    versus = comparison.columns[1].versus_baseline
    assert versus is not None
    assert (versus["exact_match"].pairs, versus["exact_match"].losses) == (3, 1)
    assert codes(comparison) == []


def test_columns_without_a_row_in_common_are_said_not_to_be_comparable():
    comparison = compare(
        [column("a", [1], row_keys=["x"]), column("b", [1], row_keys=["y"], dataset="d2")]
    )
    versus = comparison.columns[1].versus_baseline
    assert versus is not None
    assert versus["exact_match"].pairs == 0
    assert codes(comparison) == ["different_dataset", "unmatched_rows", "unmatched_rows"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"version": 2}, "different_scorer_version"),
        ({"type": "contains"}, "different_scorer"),
        ({"options": {"normalize": []}}, "different_scorer"),
        ({"target": "label"}, "different_scorer"),
    ],
)
def test_scores_that_mean_something_else_are_said_to(options, code):
    base = column("a", {"s": scored([1, 0])})
    comparison = compare([base, column("b", {"s": scored([1, 0], **options)})])
    assert codes(comparison) == [code]


def test_a_scorer_of_one_column_alone_is_not_compared():
    base = column("a", {"s": scored([1, 0]), "t": scored([1, 0])})
    comparison = compare([base, column("b", {"s": scored([1, 1])})])
    versus = comparison.columns[1].versus_baseline
    assert versus is not None
    assert versus.keys() == {"s"}
    assert codes(comparison) == ["missing_scorer"]


def test_an_unfinished_column_says_so():
    comparison = compare([column("a", [1, None], outcomes={Outcome.OK: 1})])
    assert [(w.code, w.message) for w in comparison.warnings] == [
        ("unfinished", "job_a:a: 1 of 2 cells are done; figures will change")
    ]


def test_a_column_says_what_of_it_was_never_asked():
    outcomes = {Outcome.OK: 1, Outcome.CANCELLED: 1}
    comparison = compare([column("a", [1, None], outcomes=outcomes)])
    assert [(w.code, w.message) for w in comparison.warnings] == [
        ("never_asked", "job_a:a: 1 of 2 cells were never asked")
    ]


def test_the_baseline_is_named_by_column_or_by_endpoint():
    columns = [
        column("x", [1], job="job_a"),
        column("y", [0], job="job_a"),
        column("y", [1], job="job_b"),
    ]

    def chosen(name: str | None) -> tuple[str, str]:
        comparison = compare(columns, baseline=name)
        return comparison.baseline_job, comparison.baseline_endpoint

    assert chosen(None) == ("job_a", "x")
    assert chosen("y") == ("job_a", "y")
    assert chosen("job_b:y") == ("job_b", "y")
    with pytest.raises(UnknownName, match="there are: job_a:x, job_a:y, job_b:y"):
        chosen("z")
    with pytest.raises(InvalidInput, match="nothing to compare"):
        compare([])


@given(
    pairs=st.lists(
        st.tuples(*[st.none() | st.sampled_from([0.0, 1.0]) | st.just(0.25)] * 2), min_size=1
    )
)
def test_swapping_baseline_and_candidate_negates_the_difference(pairs):
    one, two = column("a", [a for a, _ in pairs]), column("b", [b for _, b in pairs])
    there = compare([one, two], baseline="a").columns[1].versus_baseline
    back = compare([one, two], baseline="b").columns[0].versus_baseline
    assert there is not None
    assert back is not None
    ahead, behind = there["exact_match"], back["exact_match"]
    assert ahead.pairs == behind.pairs == sum(None not in pair for pair in pairs)
    assert (ahead.wins, ahead.losses) == (behind.losses, behind.wins)
    if ahead.difference is not None:
        assert behind.difference == pytest.approx(-ahead.difference)


def test_large_jobs_are_compared_quickly():
    values = np.tile([0.0, 1.0, 1.0], 100_000)
    keys = [f"q{n}" for n in range(values.size)]

    def large(endpoint: str, shift: int) -> ColumnScores:
        rolled = np.roll(values, shift)
        scores = {"s": RowScores(type="t", version=1, means=rolled, n_scored=values.size)}
        return column(endpoint, scores, row_keys=keys[shift:] + keys[:shift])

    versus = compare([large("a", 0), large("b", 1)]).columns[1].versus_baseline
    assert versus is not None
    assert versus["s"].pairs == 300_000


def test_no_limit_lies_where_no_score_can():
    summary = compare([column("a", [1, 1, 1, 0.5])]).columns[0].scores["exact_match"]
    assert (summary.mean, summary.high) == (0.875, 1.0)
    versus = compare([column("a", [0, 0, 0, 0.4]), column("b", [1, 1, 1, 1])]).columns[1]
    assert versus.versus_baseline is not None
    assert versus.versus_baseline["exact_match"].high == 1.0


@given(st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=20), st.data())
def test_without_repeats_the_means_are_the_scores_in_whatever_order(values, data):
    shown = data.draw(st.permutations(range(len(values))))
    rows = np.array(shown[: data.draw(st.integers(0, len(shown)))], dtype=np.int64)
    scores = np.array([np.nan if values[row] is None else values[row] for row in rows])
    means, n_scored = average_repeats(len(values), rows, scores, repeats=1)
    expected, n_expected = average_repeats(len(values), rows, scores, repeats=2)
    assert np.array_equal(means, expected, equal_nan=True)
    assert n_scored == n_expected


@given(st.lists(st.tuples(st.none() | st.integers(0, 1), st.none() | st.floats(0, 1)), min_size=2))
def test_columns_with_the_same_rows_compare_as_if_their_rows_had_been_matched(pairs):
    """The short way of equal rows against the long one, of rows that are in another order."""
    one, two = [a for a, _ in pairs], [b for _, b in pairs]
    straight = compare([column("a", one), column("b", two)])
    turned = [f"q{n}" for n in reversed(range(len(pairs)))]
    around = compare([column("a", one), column("b", two[::-1], row_keys=turned)])
    found, expected = straight.columns[1], around.columns[1]
    assert found.versus_baseline is not None
    assert expected.versus_baseline is not None
    left, right = (c["exact_match"] for c in (found.versus_baseline, expected.versus_baseline))
    assert (left.pairs, left.wins, left.losses) == (right.pairs, right.wins, right.losses)
    assert left.method == right.method
    assert left.difference == (right.difference and pytest.approx(right.difference, abs=1e-12))
