from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikaku.planning import MAX_SHARD_CELLS, MIN_SHARD_CELLS, Grid, PlannedShard, plan, plan_more


def cells(shard: PlannedShard) -> list[tuple[int, int, int]]:
    rows = range(shard.row_from, shard.row_to)
    return [
        (shard.endpoint, *cell) for cell in product(rows, range(shard.repeat_from, shard.repeat_to))
    ]


@given(
    n_rows=st.integers(1, 400),
    n_endpoints=st.integers(1, 4),
    repeats=st.integers(1, 5) | st.integers(250, 600),
    slots=st.integers(1, 64),
)
def test_every_cell_lies_in_exactly_one_shard(n_rows, n_endpoints, repeats, slots):
    n_rows = min(n_rows, 4_000 // repeats)
    shards = plan(n_rows, n_endpoints, repeats, slots=slots)
    counts = Counter(cell for shard in shards for cell in cells(shard))
    assert set(counts) == set(product(range(n_endpoints), range(n_rows), range(repeats)))
    assert set(counts.values()) == {1}
    assert all(shard.n_cells == len(cells(shard)) <= MAX_SHARD_CELLS for shard in shards)


@given(n_rows=st.integers(1, 100_000), repeats=st.integers(1, 256), slots=st.integers(1, 64))
def test_a_row_is_only_cut_when_its_repeats_fill_a_shard(n_rows, repeats, slots):
    n_rows = min(n_rows, 100_000 // repeats)
    shards = plan(n_rows, 2, repeats, slots=slots)
    assert all((s.repeat_from, s.repeat_to) == (0, repeats) for s in shards)


def test_a_row_with_more_repeats_than_a_shard_holds_is_cut():
    shards = plan(2, 1, 600)
    assert [(s.row_from, s.repeat_from, s.repeat_to) for s in shards[:3]] == [
        (0, 0, 200),
        (0, 200, 400),
        (0, 400, 600),
    ]


def test_endpoints_take_turns():
    assert [shard.endpoint for shard in plan(1_000, 3, 1)[:6]] == [0, 1, 2, 0, 1, 2]


def test_a_small_job_gives_every_slot_work_without_crumbs():
    shards = plan(120, 2, 1, slots=16)
    assert {shard.n_cells for shard in shards} == {15}
    assert len(plan(MIN_SHARD_CELLS, 1, 1)) == 1


def test_a_large_job_is_cut_into_full_shards():
    shards = plan(1_000_000, 1, 1)
    assert len(shards) == -(-1_000_000 // MAX_SHARD_CELLS)
    assert {shard.n_cells for shard in shards} == {255, 256}


@pytest.mark.parametrize("counts", [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)])
def test_nothing_to_plan_is_an_error(counts):
    with pytest.raises(ValueError, match="nothing to plan"):
        plan(*counts[:3], slots=counts[3])


SIZES = st.tuples(st.integers(1, 60), st.integers(1, 3), st.integers(1, 4))


def grid(size: tuple[int, int, int]) -> Grid:
    n_rows, n_endpoints, repeats = size
    return Grid(n_rows=n_rows, n_endpoints=n_endpoints, repeats=repeats)


def all_cells(size: tuple[int, int, int]) -> set[tuple[int, ...]]:
    n_rows, n_endpoints, repeats = size
    return set(product(range(n_endpoints), range(n_rows), range(repeats)))


@given(old=SIZES, more=st.tuples(st.integers(0, 60), st.integers(0, 2), st.integers(0, 3)))
def test_a_larger_grid_adds_exactly_what_was_not_there(old, more):
    new = (old[0] + more[0], old[1] + more[1], old[2] + more[2])
    counts = Counter(cell for shard in plan_more(grid(old), grid(new)) for cell in cells(shard))
    assert set(counts) == all_cells(new) - all_cells(old)
    assert not counts or set(counts.values()) == {1}


def test_a_grid_does_not_shrink():
    with pytest.raises(ValueError, match="does not hold all"):
        plan_more(grid((3, 1, 2)), grid((4, 1, 1)))
