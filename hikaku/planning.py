"""How a job's grid of cells is cut into the shards that workers take."""

from collections.abc import Iterator
from dataclasses import dataclass

MIN_SHARD_CELLS = 16
"""Below this the cost of a message and a claim shows in the cost of a call."""

MAX_SHARD_CELLS = 256
"""Above this nothing is saved any more, and a lost worker loses more."""

SHARDS_PER_SLOT = 2
"""Shards of a job for each slot that may run them, so that no slot idles at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedShard:
    """Rows [row_from, row_to) x repeats [repeat_from, repeat_to) of one endpoint."""

    endpoint: int
    """Position in the job's list of endpoints, from 0."""
    row_from: int
    row_to: int
    repeat_from: int
    repeat_to: int

    @property
    def n_cells(self) -> int:
        """How many cells it holds."""
        return (self.row_to - self.row_from) * (self.repeat_to - self.repeat_from)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How large a job is."""

    n_rows: int
    n_endpoints: int
    repeats: int

    @property
    def n_cells(self) -> int:
        """How many cells it holds."""
        return self.n_rows * self.n_endpoints * self.repeats


_Span = tuple[int, int]
"""From the first to before the last."""


def plan(n_rows: int, n_endpoints: int, repeats: int, *, slots: int = 16) -> list[PlannedShard]:
    """Cut the grid so that every cell lies in exactly one shard.

    All repeats of a row stay together, unless there are more of them than a shard may hold.
    Endpoints take turns, so that the slow one does not wait for the quick one to finish.

    Args:
        n_rows: Rows of the dataset revision.
        n_endpoints: Endpoints of the job.
        repeats: How often every row is asked of every endpoint.
        slots: Shards that all workers together can run at once.

    Returns:
        Shards of at most `MAX_SHARD_CELLS` cells, rows ascending.

    Raises:
        ValueError: A count is below 1.
    """
    if min(n_rows, n_endpoints, repeats, slots) < 1:
        counts = f"{n_rows} rows, {n_endpoints} endpoints, {repeats} repeats, {slots} slots"
        raise ValueError(f"there is nothing to plan in {counts}")
    return _box((0, n_rows), (0, n_endpoints), (0, repeats), slots)


def plan_more(old: Grid, new: Grid, *, slots: int = 16) -> list[PlannedShard]:
    """Cut what a larger grid has beyond a smaller one; every cell of it lies in one shard.

    Args:
        old: The grid that is planned already.
        new: The grid that is wanted.
        slots: Shards that all workers together can run at once.

    Raises:
        ValueError: The new grid is smaller in some direction.
    """
    pairs = zip(
        (old.n_rows, old.n_endpoints, old.repeats),
        (new.n_rows, new.n_endpoints, new.repeats),
        strict=True,
    )
    if any(before > after for before, after in pairs):
        raise ValueError(f"{new} does not hold all of {old}")
    rows, endpoints = (0, old.n_rows), (0, old.n_endpoints)
    more_rows, more_endpoints = (old.n_rows, new.n_rows), (old.n_endpoints, new.n_endpoints)
    return [
        *_box(rows, endpoints, (old.repeats, new.repeats), slots),
        *_box(more_rows, endpoints, (0, new.repeats), slots),
        *_box((0, new.n_rows), more_endpoints, (0, new.repeats), slots),
    ]


def _box(rows: _Span, endpoints: _Span, repeats: _Span, slots: int) -> list[PlannedShard]:
    n_rows, n_endpoints, n_repeats = (end - start for start, end in (rows, endpoints, repeats))
    if not n_rows * n_endpoints * n_repeats:
        return []
    return [
        PlannedShard(
            endpoint=endpoint,
            row_from=rows[0] + row_from,
            row_to=rows[0] + row_to,
            repeat_from=repeats[0] + repeat_from,
            repeat_to=repeats[0] + repeat_to,
        )
        for row_from, row_to in cut(n_rows, _rows_per_shard(n_rows, n_endpoints, n_repeats, slots))
        for repeat_from, repeat_to in cut(n_repeats, MAX_SHARD_CELLS)
        for endpoint in range(*endpoints)
    ]


def _rows_per_shard(n_rows: int, n_endpoints: int, repeats: int, slots: int) -> int:
    cells = -(-n_rows * n_endpoints * repeats // (SHARDS_PER_SLOT * slots))
    return max(1, min(max(cells, MIN_SHARD_CELLS), MAX_SHARD_CELLS) // repeats)


def cut(n: int, longest: int) -> Iterator[_Span]:
    """Cut [0, n) into the fewest runs of at most `longest`, as even as can be."""
    pieces = -(-n // longest)
    for piece in range(pieces):
        yield piece * n // pieces, (piece + 1) * n // pieces
